// What every client of the tests does with its session: calls that must not be
// done twice, lists, a question that is answered, a call that takes long. Each
// outcome is a line of JSON on stdout; the test counts them.

const say = (line) => console.log(JSON.stringify(line));

// patience bounds one step, in ms. A step that needs it all is lost: nobody told
// the client what became of it.
const patience = 40_000;

async function step(kind, key, work) {
  const began = Date.now();
  let timer;
  const lost = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("lost")), patience); });
  try {
    const result = await Promise.race([work(), lost]);
    const failed = result?.isError === true;
    say({ kind, key, outcome: failed ? "failed" : "ok", why: failed ? text(result) : undefined, ms: Date.now() - began, result: text(result) });
  } catch (e) {
    const why = String(e?.message ?? e);
    say({ kind, key, outcome: why === "lost" ? "lost" : "failed", why, ms: Date.now() - began });
  } finally {
    clearTimeout(timer);
  }
}

// limit is how long the SDKs wait for an answer, in ms. Version 2 does not notice,
// in the modern era, that the stream of a call broke off; there this limit is what
// tells its user.
const limit = 15_000;

const text = (result) => result?.content?.map((c) => c.text ?? "").join("");

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// run works for that many seconds, one step after the other, and beside them one
// long call after the other.
export async function run(client, seconds) {
  say({ kind: "session", key: client.session() ?? "", outcome: "ok" });
  const end = Date.now() + seconds * 1000;
  const name = Math.random().toString(36).slice(2);
  const quick = async () => {
    for (let n = 0; Date.now() < end; n++) {
      const key = `${name}-${n}`;
      await step("count", key, () => client.call("count", { key }, { timeout: limit }));
      if (n % 5 === 0) await step("list", key, () => client.list());
      if (n % 7 === 0) await step("confirm", key, () => client.call("confirm", { question: "go on?" }, { timeout: limit }));
      await pause(20);
    }
  };
  const slow = async () => {
    for (let n = 0; Date.now() < end; n++) {
      let heard = 0;
      const key = `${name}-slow-${n}`;
      await step("slow", key, () => client.call("slow", { steps: 4, delay_ms: 400 }, { timeout: limit, onprogress: () => { heard++; } }));
      say({ kind: "progress", key, outcome: "ok", heard });
      await step("silent", key, () => client.call("slow", { steps: 1, delay_ms: 6000 }, { timeout: limit }));
    }
  };
  await Promise.all([quick(), slow()]);
  say({ kind: "session", key: client.session() ?? "", outcome: "ok" });
}
