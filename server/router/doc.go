// Package router decides where a message of a client goes: it is the
// exchange.Handler behind every carrier.
//
// It tells the era of each request, and answers by that era's rules: the sessions
// of the revisions up to 2025-11-25, the stateless requests of 2026-07-28. It
// finds the upstream, and where client and upstream are of different eras it
// says the one's words in the other's. What one era cannot carry to the other
// gets an explicit error, never silence.
//
//	classify.go      which era
//	legacy.go        a message in a session            initialize.go   its first
//	call.go          a request in a session, at work   stream.go       its GET stream
//	modern.go        a stateless request               headers.go      the headers that mirror it
//	discover.go      server/discover                   listen.go       subscriptions/listen
//	answer.go        answers between the eras          payload.go      content for older clients
//	bridge.go        requests of a server in the middle of a call, between the eras
//
// The aggregate joins the upstreams as the catalogue knows them:
//
//	aggregate.go     its requests                      aggregate_stream.go   GET streams
//	target.go        which upstream one is for         aggregate_listen.go   subscriptions/listen
//	names.go         whose names are spoken            lists.go              lists
//	events.go        what happens to resources         merge.go              what it says of itself
//	changes.go       what streams have yet to tell     first_use.go         what another node may have opened
//
// The router holds no state that a request needs on another node. What it
// remembers for itself (what upstreams said of themselves, which headers the
// tools that were listed want) is bounded, and asked for again when it is not
// there.
//
// It knows neither HTTP (server/front does), nor how sessions survive a node
// (server/session), nor how an upstream is reached (server/upstream).
package router
