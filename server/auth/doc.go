// Package auth says who is calling, and holds the keys that the cluster signs
// and seals with.
//
// # Who is calling
//
// [Auth.Authenticate] turns credentials into an [exchange.Caller], or refuses
// them in words that say what to do. It knows three kinds:
//
//   - tokens from the node's configuration (the bootstrap token, that of dev),
//   - API tokens, mcpraft_NAME_SECRET, which are records of the replicated state,
//   - JWTs of the issuers in the node's configuration; they reach MCP only.
//
// What it found it remembers until the token expires, or until any token, key of
// the cluster or key of an issuer changes: a revocation takes effect on a node
// as soon as it has applied the entry. Who holds streams open for callers is told
// ([Auth.Watch]). A refusal says nothing about a signature
// but that it does not verify; what a token claims is spoken of only once its
// signature is known to be good. The cause goes to the log.
//
// The gateway is a resource server of OAuth: [Auth.Challenge] and
// [Auth.Metadata] tell clients where to get a token (RFC 9728), and tell them
// nothing when no issuer is configured, or clients would start to register.
//
// # The key ring
//
// [KeyRing] makes and verifies MACs (of ids that clients hand back) and seals
// small secrets for the replicated state. Its keys are one record, sealed under
// root keys that only the nodes' key files hold (docs/format/key-ring.md).
// [Rotation], a duty of the leader, makes the first keys and replaces them in
// time: a new key is known to the nodes for a while before it is used, and the
// old one still verifies for a while afterwards.
//
// The package reads no files and knows no routes: secrets and addresses are
// handed in.
package auth
