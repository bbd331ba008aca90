// A client of either era, by the official SDK (version 2): see legacy.mjs.
//
//   node modern.mjs URL TOKEN SECONDS 2026-07-28|legacy
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { run } from "./load.mjs";

const [url, token, seconds, era] = process.argv.slice(2);
const mode = era === "legacy" ? "legacy" : { pin: era };
const client = new Client({ name: "modern", version: "1" }, { capabilities: { elicitation: { form: {} } }, versionNegotiation: { mode } });
client.setRequestHandler("elicitation/create", () => ({ action: "accept", content: { ok: true } }));
const transport = new StreamableHTTPClientTransport(new URL(url), {
  requestInit: { headers: { Authorization: `Bearer ${token}` } },
  reconnectionOptions: { initialReconnectionDelay: 200, maxReconnectionDelay: 1000, reconnectionDelayGrowFactor: 1.5, maxRetries: 10 },
});
await client.connect(transport);
await run({
  session: () => transport.sessionId,
  call: (name, args, options) => client.callTool({ name, arguments: args }, options),
  list: () => client.listTools(),
}, Number(seconds));
await client.close();
