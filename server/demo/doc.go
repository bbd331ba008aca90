// Package demo is a small MCP server: the upstream that `mcpraft dev` registers as
// "demo", so that there is something to call before anything is installed. It is
// an http.Handler that speaks Streamable HTTP in both eras on one URL: sessions,
// event streams with resumption and server requests for 2024-11-05 to 2025-11-25,
// and the stateless form of 2026-07-28 with input_required results and
// subscriptions/listen.
//
// What it offers is for looking around and for tests: tools that add, echo, take
// their time, ask the user, ask the model and count; notes that tools change and
// clients subscribe to; a clock; prompts with completion.
//
// It holds everything in memory and trusts whoever reaches it, so it answers only
// requests whose Host and Origin are this machine. Every store in it is bounded;
// see the constants of the types.
package demo
