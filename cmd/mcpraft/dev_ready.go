package main

import "fmt"

// A devReady is what the ready file says, for programs that use a dev cluster.
type devReady struct {
	Token string         `json:"token,omitempty"` // for the admin API and for MCP
	Front string         `json:"front"`           // base URL that stays when nodes die
	Nodes []devReadyNode `json:"nodes"`
}

// A devReadyNode is one node: its process and its addresses.
type devReadyNode struct {
	ID    string `json:"id"`
	PID   int    `json:"pid"`   // of its newest process; it changes when the node starts again
	MCP   string `json:"mcp"`   // base URL
	Admin string `json:"admin"` // base URL
	Peer  string `json:"peer"`  // host:port
}

func (r *devRun) readyNow() devReady {
	plan := r.home.plan
	doc := devReady{Token: r.home.token, Front: "http://" + loopback(plan.Nodes[0].MCP)}
	if plan.Front != 0 {
		doc.Front = "http://" + loopback(plan.Front)
	}
	for i, n := range plan.Nodes {
		doc.Nodes = append(doc.Nodes, devReadyNode{
			ID: n.ID, PID: r.nodes[i].PID(),
			MCP: "http://" + loopback(n.MCP), Admin: "http://" + loopback(n.Admin), Peer: loopback(n.Peer),
		})
	}
	return doc
}

// publish writes the ready file for the first time; from then on refresh keeps
// it current.
func (r *devRun) publish() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.published = true
	return r.writeReady()
}

// refresh is called after each start of a node: its process id is a new one.
func (r *devRun) refresh() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.published {
		return
	}
	if err := r.writeReady(); err != nil {
		r.gate.Print(fmt.Sprintf("the ready file is out of date: %s", err))
	}
}

func (r *devRun) writeReady() error {
	if r.ready == "" {
		return nil
	}
	text, err := encodeJSON(r.readyNow())
	if err != nil {
		return err
	}
	return writePrivate(r.ready, text)
}
