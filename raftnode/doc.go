// Package raftnode is one node of the cluster: it drives hashicorp/raft over the
// durable state machine of package fsm.
package raftnode
