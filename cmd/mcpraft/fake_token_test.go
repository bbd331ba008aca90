package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// fakeTokens answers /v1/tokens and /v1/keys as a cluster would.
func (f *fakeCluster) fakeTokens(handle func(pattern string, write bool, h fakeHandler)) {
	handle("POST /v1/tokens", true, f.createToken)
	handle("GET /v1/tokens", false, func(*http.Request) (any, error) {
		page := adminapi.Page[adminapi.Token]{Items: []adminapi.Token{}}
		for _, name := range sortedNames(f.tokens) {
			page.Items = append(page.Items, f.tokens[name])
		}
		return page, nil
	})
	handle("DELETE /v1/tokens/{name}", true, func(r *http.Request) (any, error) {
		name := r.PathValue("name")
		old, exists := f.tokens[name]
		if err := match(r, "token "+name, exists, old.Revision); err != nil {
			return nil, err
		}
		f.index++
		delete(f.tokens, name)
		return f.receipt(), nil
	})
	handle("POST /v1/keys/rotate", true, func(*http.Request) (any, error) {
		f.index++
		return f.receipt(), nil
	})
}

// createToken makes a token that lasts for as many days as were asked for, from
// the first of 2099 on.
func (f *fakeCluster) createToken(r *http.Request) (any, error) {
	var spec adminapi.TokenSpec
	if err := json.NewDecoder(r.Body).Decode(&spec); err != nil {
		return nil, err
	}
	if old, exists := f.tokens[spec.Name]; exists && r.Header.Get(adminapi.HeaderIfMatch) != adminapi.ETag(old.Revision) {
		return nil, fault.New(fault.Conflict, "token %s exists already", spec.Name).WithDetail("revision", "11")
	}
	f.index++
	t := adminapi.Token{
		Name: spec.Name, User: adminapi.Principal{Issuer: "mcpraft", Subject: spec.Name}, ClientID: spec.ClientID, Admin: spec.Admin, Scopes: spec.Scopes,
		Created: fakeTime, Revision: f.index,
		Expires: adminapi.TimeOf(time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC).Add(spec.TTL.Duration())),
	}
	if spec.User != nil {
		t.User = *spec.User
	}
	f.tokens[spec.Name] = t
	return adminapi.CreatedToken{Name: t.Name, Token: "mcpraft_" + t.Name + "_" + strings.Repeat("A", 26), Expires: t.Expires, Revision: t.Revision}, nil
}
