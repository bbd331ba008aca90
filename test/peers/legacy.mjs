// A client of the legacy era, by the official SDK (version 1): one session that
// calls, and lists, and is asked, while nodes come and go. It prints one JSON
// object per step.
//
//   node legacy.mjs URL TOKEN SECONDS
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { run } from "./load.mjs";

const [url, token, seconds] = process.argv.slice(2);
const client = new Client({ name: "legacy", version: "1" }, { capabilities: { elicitation: { form: {} } } });
client.setRequestHandler(ElicitRequestSchema, () => ({ action: "accept", content: { ok: true } }));
const transport = new StreamableHTTPClientTransport(new URL(url), {
  requestInit: { headers: { Authorization: `Bearer ${token}` } },
  reconnectionOptions: { initialReconnectionDelay: 200, maxReconnectionDelay: 1000, reconnectionDelayGrowFactor: 1.5, maxRetries: 10 },
});
await client.connect(transport);
await run({
  session: () => transport.sessionId,
  call: (name, args, options) => client.callTool({ name, arguments: args }, undefined, options),
  list: () => client.listTools(),
}, Number(seconds));
await client.close();
