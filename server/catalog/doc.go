// Package catalog holds what all upstreams list: their tools, resources, resource
// templates and prompts, under the names that the aggregate gives them.
//
// The lists are in the replicated state, a slice for each upstream. Every node
// keeps a [View] of them in memory, exchanged as a whole when a change is applied,
// and answers clients from it: nothing depends on which node listed, and no list
// waits for an upstream.
package catalog
