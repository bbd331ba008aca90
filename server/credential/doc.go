// Package credential keeps what the cluster shows to upstreams in place of its
// clients' tokens: headers that do not change, and access tokens by the OAuth
// client credentials grant (RFC 6749, section 4.4).
//
//	creds := credential.New(credential.Config{Replica: node, Sealer: keys, …})
//	node.Watch(creds.Changed)
//	header, err := creds.Get(ctx, "tracker")
//
// Credentials are records of the replicated state, their secrets sealed under the
// cluster's keys: every node opens them, no file of the state tells them. An
// access token is fetched by one node at a time, the holder of the credential's
// claim, and is there for all others: a token endpoint sees one request for a
// token, however many nodes and callers need it.
//
// The package knows neither upstreams nor the admin API. Values appear in no log
// and in no error.
package credential
