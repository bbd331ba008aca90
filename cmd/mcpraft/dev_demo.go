package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
	"github.com/mcpraft/mcpraft/server/demo"
)

const (
	demoAlias = "demo"

	demoMark   = "made_by" // metadata of the upstream that dev registers
	demoMarker = "mcpraft dev"
)

// serveDemo runs the demo upstream until ctx ends. It lives in the parent: nodes
// die and come back, what they lead to stays.
func serveDemo(ctx context.Context, l net.Listener) error {
	handler := demo.New()
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() {
		handler.Close()
		server.Close()
	})
	defer func() {
		if stop() {
			handler.Close()
		}
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// registerDemo makes the demo upstream known to the cluster, or moves it to the
// port that it now has. An upstream of that name that somebody else made is theirs,
// and one that was removed by hand comes back with the next start.
func (r *devRun) registerDemo(ctx context.Context, client *adminapi.Client) error {
	address := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(r.home.plan.Demo)) + "/mcp"
	put := &adminapi.PutUpstreamRequest{
		WriteOptions: onceKey(), Alias: demoAlias,
		UpstreamSpec: adminapi.UpstreamSpec{Transport: record.TransportHTTP, URL: address, Metadata: map[string]string{demoMark: demoMarker}},
	}
	have, _, err := client.Upstream(ctx, &adminapi.UpstreamRequest{Alias: demoAlias})
	switch {
	case fault.Of(err) == fault.NotFound:
	case err != nil:
		return err
	case have.URL == address || have.Metadata[demoMark] != demoMarker:
		return nil
	default:
		put.IfMatch = have.Revision
	}
	_, _, err = client.PutUpstream(ctx, put)
	return err
}
