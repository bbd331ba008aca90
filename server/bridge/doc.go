// Package bridge is a local stdio MCP server that is a client of the cluster: it
// carries the messages of one MCP client between standard input and output and an
// endpoint of the gateway, at whichever node answers.
//
// Most clients never open a session a second time and keep the address that they
// were given. For them a bridge is the part that stays when nodes die:
//
//   - A request goes to the next node when it did not reach the one before, or
//     when that one refused it for want of room or because it stops.
//   - An answer that comes as a stream is taken up at another node behind the last
//     event that was seen.
//   - A session of the legacy era that is gone is opened again with what the client
//     had said, its subscriptions and log level with it, and the client is told that
//     lists and resources may have changed. The modern era has no session; a
//     subscription that was cut is asked for again in the same way.
//   - A request that may have been carried out is sent again only if its method only
//     reads. Of any other the client gets an error that says that the outcome is
//     unknown. Nothing is ever left without an answer.
//
// Messages pass as they are; era and session are the gateway's business wherever
// they can be. A bridge lasts as long as its input.
package bridge
