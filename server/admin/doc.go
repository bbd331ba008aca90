// Package admin serves the admin API of package adminapi: registry, sessions,
// upstreams, membership, status, metrics and health, over plain HTTP and over
// /v1/stream.
//
// # Shape
//
// One file per noun. Each operation is one method of API that takes a decoded
// request and returns a result or an error; it does not know by which carrier
// the request came. routes lists them all. The two carriers (http.go, stream.go)
// decode, authenticate, call and write; errors become wire codes there and
// nowhere else.
//
// # Order of admission
//
// Request id, health (the only routes without a token), cross-origin check,
// bearer token, route, method, arguments. What a caller without a token learns is
// that a token is needed.
//
// # Promises
//
// Nothing of a refused request is applied. Unknown parameters, fields and
// headers that a route would have to ignore are refused. Session ids are shown
// as hashes, in answers and in logs.
//
// It knows nothing of Raft: what it needs of a node are the interfaces in api.go.
package admin
