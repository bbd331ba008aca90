// A client by the official SDK (version 1) at the endpoint that joins all upstreams,
// of which "left" and "right" are alike. It prints one JSON object per step; what a
// step expects is checked here. When it says "kill" the test kills a node, and brings
// it back a while later.
//
//   node aggregate.mjs URL TOKEN
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema, ResourceUpdatedNotificationSchema, ToolListChangedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";
import assert from "node:assert/strict";

const [url, token] = process.argv.slice(2);
const sides = ["left", "right"];
const client = new Client({ name: "aggregate", version: "1" }, { capabilities: { elicitation: { form: {} } } });
let question = "";
client.setRequestHandler(ElicitRequestSchema, (request) => {
  question = request.params.message;
  return { action: "accept", content: { ok: true } };
});
const updates = [];
client.setNotificationHandler(ResourceUpdatedNotificationSchema, (n) => { updates.push(n.params); });
let changes = 0;
client.setNotificationHandler(ToolListChangedNotificationSchema, () => { changes++; });
const transport = new StreamableHTTPClientTransport(new URL(url), {
  requestInit: { headers: { Authorization: `Bearer ${token}` } },
  reconnectionOptions: { initialReconnectionDelay: 200, maxReconnectionDelay: 1000, reconnectionDelayGrowFactor: 1.5, maxRetries: 20 },
});

const call = async (name, args = {}, options = {}) => {
  const result = await client.callTool({ name, arguments: args }, undefined, { timeout: 30_000, ...options });
  assert(!result.isError, JSON.stringify(result.content));
  return result.content;
};
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const until = async (what, holds) => {
  const end = Date.now() + 20_000;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`);
    await sleep(100);
  }
};
const say = (o) => console.log(JSON.stringify(o));

async function step(kind, work) {
  const began = Date.now();
  try {
    await work();
    say({ kind, outcome: "ok", ms: Date.now() - began });
  } catch (e) {
    say({ kind, outcome: "failed", why: String(e?.message ?? e), ms: Date.now() - began });
    process.exitCode = 1;
  }
}

const tools = async () => (await client.listTools()).tools.map((t) => t.name);
const note = (side) => `gw://${side}/note://a`;

await client.connect(transport);
const session = transport.sessionId;
let names = [];

await step("names", async () => {
  names = await tools();
  assert.equal(new Set(names).size, names.length);
  for (const name of names) assert.match(name, /^(left|right)__[A-Za-z0-9_-]+$/);
  for (const name of names) assert(name.length <= 50, name);
  for (const side of sides) assert.equal(names.filter((n) => n.startsWith(`${side}__`)).length, names.length / 2);
});
await step("calls", async () => {
  const answers = new Set();
  for (const name of names.filter((n) => n.includes("__who"))) {
    const [{ text }] = await call(name);
    assert(text.startsWith(name.split("__")[0] + " "), `${name} was answered by ${text}`);
    answers.add(text);
  }
  assert.equal(answers.size, 6); // three names on each side, two of which differ behind the hundredth character
});
await step("links", async () => {
  for (const side of sides) {
    const [link, embedded] = await call(`${side}__links`);
    assert.equal(link.uri, note(side));
    assert.equal(embedded.resource.uri, note(side));
    const { contents } = await client.readResource({ uri: link.uri });
    assert.deepEqual(contents.map((c) => [c.uri, c.text]), [[note(side), side]]);
  }
  const { resources } = await client.listResources();
  assert.deepEqual(resources.map((r) => r.uri), sides.map(note));
});
await step("prompts", async () => {
  for (const side of sides) {
    const { messages } = await client.getPrompt({ name: `${side}__greet` });
    assert.equal(messages[0].content.resource.uri, note(side));
  }
});
await step("completion", async () => {
  const { resourceTemplates } = await client.listResourceTemplates();
  for (const { uriTemplate } of resourceTemplates) {
    const { completion } = await client.complete({ ref: { type: "ref/resource", uri: uriTemplate }, argument: { name: "id", value: "a" } });
    assert.deepEqual(completion.values, [`note://{id} of ${uriTemplate.split("/")[2]}`]);
  }
});
await step("elicitation", async () => {
  for (const side of sides) {
    assert.equal((await call(`${side}__confirm`))[0].text, `${side} accept`);
    assert.equal(question, `${side}: Sure?`);
  }
});
await step("progress", async () => {
  let heard = 0;
  await call("left__steps", {}, { onprogress: () => { heard++; } });
  assert.equal(heard, 3);
});
const updated = async (side) => {
  updates.length = 0;
  await call(`${side}__touch`);
  await until(`an update of ${side}`, () => updates.length > 0);
  assert.deepEqual([...new Set(updates.map((u) => u.uri))], [note(side)]);
};
await step("updates", async () => {
  for (const side of sides) await client.subscribeResource({ uri: note(side) });
  await sleep(1500); // the GET stream hears of it
  for (const side of sides) await updated(side);
});
await step("changes", async () => {
  changes = 0;
  await call("right__grow");
  await until("the new tool", async () => changes > 0 && (await tools()).includes("right__grown"));
});
await step("events", async () => {
  await client.request({ method: "resources/subscribe", params: { uri: "gw://left/note://new", events: ["create"] } }, { parse: (x) => x, safeParse: (x) => ({ success: true, data: x }) });
  await sleep(1500);
  updates.length = 0;
  await call("left__write");
  await until("the creation", () => updates.some((u) => u.uri === "gw://left/note://new"));
  assert.equal(updates.find((u) => u.uri === "gw://left/note://new")._meta["io.github.mcpraft/event"], "create");
});
say({ kind: "kill" });
await step("calls while a node is killed", async () => {
  const outcomes = { ok: 0, failed: 0 };
  for (const end = Date.now() + 8_000; Date.now() < end; await sleep(50)) {
    for (const side of sides) {
      try {
        assert.match((await call(`${side}__who`, {}, { timeout: 20_000 }))[0].text, new RegExp(`^${side} `));
        outcomes.ok++;
      } catch (e) {
        assert(e?.message && !/timed out/.test(e.message), `lost: ${e}`);
        outcomes.failed++;
      }
    }
  }
  say({ kind: "calls", outcome: `${outcomes.ok} ok, ${outcomes.failed} failed` });
  assert(outcomes.ok > 20 && outcomes.failed <= 6, JSON.stringify(outcomes));
});
await step("lists afterwards", async () => assert((await tools()).includes("right__grown")));
await step("updates afterwards", async () => { for (const side of sides) await updated(side); });
await step("session", () => assert.equal(transport.sessionId, session));
await step("delete", () => transport.terminateSession());
await client.close();
