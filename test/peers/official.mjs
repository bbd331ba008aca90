// A client by the official SDK (version 1) that uses all that the reference server
// has, on one session. It prints one JSON object per step; what a step expects is
// checked here.
//
//   node official.mjs URL TOKEN [ALIAS]
//
// With the server's alias the URL is that of all upstreams together.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema, ResourceUpdatedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";
import assert from "node:assert/strict";

const [url, token, alias] = process.argv.slice(2);
const named = (name) => alias ? `${alias}__${name}` : name;
const client = new Client({ name: "typescript", version: "1" }, { capabilities: { elicitation: { form: {} } } });
client.setRequestHandler(ElicitRequestSchema, () => ({ action: "accept", content: { name: "Ada" } }));
const updated = new Promise((told) => client.setNotificationHandler(ResourceUpdatedNotificationSchema, (n) => told(n.params.uri)));
const transport = new StreamableHTTPClientTransport(new URL(url), {
  requestInit: { headers: { Authorization: `Bearer ${token}` } },
  reconnectionOptions: { initialReconnectionDelay: 200, maxReconnectionDelay: 1000, reconnectionDelayGrowFactor: 1.5, maxRetries: 10 },
});

const call = async (name, args, options) => {
  const result = await client.callTool({ name: named(name), arguments: args }, undefined, { timeout: 30_000, ...options });
  const text = result.content.map((c) => c.text ?? "").join("");
  assert(!result.isError, text);
  return text;
};

async function step(kind, work) {
  const began = Date.now();
  try {
    await work();
    console.log(JSON.stringify({ kind, outcome: "ok", ms: Date.now() - began }));
  } catch (e) {
    console.log(JSON.stringify({ kind, outcome: "failed", why: String(e?.message ?? e), ms: Date.now() - began }));
    process.exitCode = 1;
  }
}

await client.connect(transport);
const session = transport.sessionId;
const uri = (alias ? `gw://${alias}/` : "") + "demo://resource/dynamic/text/1";

await step("tools", async () => assert((await client.listTools()).tools.length >= 10));
await step("call", async () => assert.match(await call("get-sum", { a: 2, b: 40 }), /42/));
await step("progress", async () => {
  let heard = 0;
  await call("trigger-long-running-operation", { duration: 0.4, steps: 4 }, { onprogress: () => { heard++; } });
  assert.equal(heard, 4);
});
await step("elicitation", async () => assert.match(await call("trigger-elicitation-request", {}), /Ada/));
await step("resource", async () => assert.match((await client.readResource({ uri })).contents[0].text, /Resource 1/));
await step("updated", async () => {
  await client.subscribeResource({ uri });
  await call("toggle-subscriber-updates", {});
  assert.equal(await updated, uri);
  await client.unsubscribeResource({ uri });
  await call("toggle-subscriber-updates", {});
});
await step("prompt", async () => {
  const { messages } = await client.getPrompt({ name: named("args-prompt"), arguments: { city: "Paris" } });
  assert.match(messages[0].content.text, /Paris/);
});
await step("completion", async () => {
  const { completion } = await client.complete({
    ref: { type: "ref/prompt", name: named("completable-prompt") }, argument: { name: "name", value: "A" },
    context: { arguments: { department: "Engineering" } },
  });
  assert.deepEqual(completion.values, ["Alice"]);
});
// The test kills a node during this call.
await step("silent", async () => assert.match(await call("trigger-long-running-operation", { duration: 11, steps: 1 }), /completed/));
await step("after", async () => {
  assert.match(await call("get-sum", { a: 1, b: 1 }), /2/);
  assert.equal(transport.sessionId, session);
});
await step("delete", () => transport.terminateSession());
await client.close();
