package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/strictjson"
	"github.com/mcpraft/mcpraft/server/exchange"
)

const (
	maxKeyID      = 256 // bytes of a token's kid
	maxTokenDepth = 16  // of its JSON
)

// types are the values of typ, in lower case, of what is an access token. Other
// JWTs (ID-JAGs, logout tokens, DPoP proofs) are signed by the same keys.
var types = []string{"", "jwt", "at+jwt", "application/at+jwt"}

// A verifier checks the JWTs of one issuer.
type verifier struct {
	c      Issuer
	parser *jwt.Parser
	keys   keyfunc.Keyfunc // nil with a secret
	remote *remoteKeys     // nil unless the keys are fetched
}

func newVerifier(i Issuer, client *http.Client, log *slog.Logger) (v *verifier, err error) {
	i = i.withDefaults()
	v = &verifier{c: i, parser: jwt.NewParser(
		jwt.WithValidMethods(i.Methods),
		jwt.WithIssuer(i.Issuer),
		jwt.WithAudience(i.Audiences...),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(i.Leeway),
		jwt.WithStrictDecoding(),
	)}
	switch {
	case i.JWKS != "":
		if v.remote, err = newRemoteKeys(i, client, log); err == nil {
			v.keys, err = newKeyfunc(v.remote)
		}
	case len(i.Keys) > 0:
		v.keys, err = fixedKeys(i.Keys)
	}
	return v, err
}

func fixedKeys(text []byte) (keyfunc.Keyfunc, error) {
	keys, err := ParseKeys(text)
	if err != nil {
		return nil, err
	}
	set, err := newKeySet(keys)
	if err != nil {
		return nil, err
	}
	return newKeyfunc(set)
}

// verify checks a token that names v's issuer.
func (v *verifier) verify(ctx context.Context, token string) (exchange.Caller, error) {
	var c claims
	_, err := v.parser.ParseWithClaims(token, &c, v.key(ctx))
	if err != nil {
		return exchange.Caller{}, refusal(err)
	}
	return v.caller(c)
}

// key finds the key of a token whose method is one of v's. Only the key id of
// the header is looked at: jwk, jku, x5u and x5c are the forger's to choose.
func (v *verifier) key(ctx context.Context) jwt.Keyfunc {
	return func(t *jwt.Token) (any, error) {
		if v.keys == nil {
			return v.c.Secret, nil
		}
		if _, named := t.Header["kid"]; !named {
			t.Header["kid"] = "" // or keyfunc would try every key
		}
		key, err := v.keys.KeyfuncCtx(ctx)(t)
		if err != nil {
			return nil, err
		}
		if !fits(t.Method.Alg(), key) {
			return nil, errors.New("the key is of another type or size than the method wants")
		}
		return key, nil
	}
}

// caller is who the claims c of a good token speak of.
func (v *verifier) caller(c claims) (exchange.Caller, error) {
	none := exchange.Caller{}
	if _, bound := c["cnf"]; bound {
		return none, fault.New(fault.Unauthenticated, "the token is bound to a key of its holder (cnf), which this gateway cannot check").
			WithHint("ask the issuer for a bearer token")
	}
	subject, err := c.text(v.c.Subject)
	if err != nil || subject == "" {
		return none, fault.New(fault.Unauthenticated, "the token does not say who it is for: claim %s is missing or not text", v.c.Subject).
			WithHint("have the issuer put it in, or choose another claim in the node's configuration (claims.subject)")
	}
	principal := record.Principal{Issuer: v.c.Issuer, Subject: subject}
	if err := principal.Validate(); err != nil {
		return none, fault.New(fault.Unauthenticated, "the token's claim %s cannot name a principal: %v", v.c.Subject, err)
	}
	client, err := v.client(c)
	if err != nil {
		return none, err
	}
	scopes, err := c.scopes()
	if err != nil {
		return none, fault.New(fault.Unauthenticated, "the token's scopes cannot be read: %v", err)
	}
	for _, scope := range v.c.Scopes {
		if !slices.Contains(scopes, scope) {
			return none, fault.New(fault.Forbidden, "the token does not have the scope %q", scope).
				WithHint("ask the issuer for a token with the scopes %s", strings.Join(v.c.Scopes, " ")).
				WithDetail("scope", strings.Join(v.c.Scopes, " "))
		}
	}
	expires, err := c.GetExpirationTime()
	if err != nil {
		return none, refusal(err)
	}
	return exchange.Caller{
		Principal: principal, ClientID: client, Method: MethodJWT,
		Expires: expires.Add(v.c.Leeway), Scopes: scopes,
	}, nil
}

func (v *verifier) client(c claims) (string, error) {
	names := []string{"azp", "client_id"}
	if v.c.Client != "" {
		names = []string{v.c.Client}
	}
	for _, name := range names {
		client, err := c.text(name)
		if err == nil && client != "" {
			err = record.ValidText(name, client, record.MaxClientID)
		}
		if err != nil {
			return "", fault.New(fault.Unauthenticated, "the token's claim %s cannot name a client: %v", name, err)
		}
		if client != "" {
			return client, nil
		}
	}
	return "", nil
}

// refusal says what is wrong with a token. Whose signature does not verify is
// told no more than that.
func refusal(err error) error {
	if unavailable, ok := errors.AsType[*fault.Error](err); ok && unavailable.Kind == fault.Unavailable {
		return unavailable
	}
	if !errors.Is(err, jwt.ErrTokenInvalidClaims) {
		return fault.New(fault.Unauthenticated, "the token is not valid: its signature does not verify: %w", err).
			WithHint("ask its issuer for a new token")
	}
	what, hint := "a claim is missing or of the wrong type", "it needs iss, sub, aud and exp"
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		what, hint = "it has expired", "ask its issuer for a new one"
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		what, hint = "it is not valid yet", "compare the clocks of the issuer and of this node"
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		what, hint = "it is for another audience", "ask its issuer for a token for this gateway"
	}
	return fault.New(fault.Unauthenticated, "the token is not valid: %s: %w", what, err).WithHint("%s", hint)
}

// issuerOf reads the issuer that a JWT names, and refuses what no JWT of ours
// looks like. Nothing is verified. The library reads header and claims again; it
// would take the last of two equal names, where another reader takes the first.
func issuerOf(token string) (string, error) {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Unauthenticated, "the token is not valid: "+format, args...).WithHint("ask its issuer for a new token")
	}
	parts := strings.SplitN(token, ".", 4)
	if len(parts) != 3 {
		return "", bad("it has not the three parts of a JWT")
	}
	var header struct {
		Algorithm string          `json:"alg"`
		KeyID     *string         `json:"kid"`
		Type      string          `json:"typ"`
		Critical  json.RawMessage `json:"crit"`
		Plain     json.RawMessage `json:"b64"`
		Zip       json.RawMessage `json:"zip"`
	}
	if err := decodeSegment(parts[0], &header); err != nil {
		return "", bad("its header cannot be read: %w", err)
	}
	switch {
	case header.Critical != nil || header.Plain != nil || header.Zip != nil:
		return "", bad("its header asks for an extension that is not known here")
	case !slices.Contains(types, strings.ToLower(header.Type)):
		return "", bad("it is of another type than an access token")
	case header.KeyID != nil && len(*header.KeyID) > maxKeyID:
		return "", bad("the key id in its header has more than %d bytes", maxKeyID)
	}
	var c claims
	if err := decodeSegment(parts[1], &c); err != nil {
		return "", bad("its claims cannot be read: %w", err)
	}
	issuer, err := c.text("iss")
	if err != nil || issuer == "" {
		return "", bad("it does not say who issued it")
	}
	return issuer, nil
}

func decodeSegment(segment string, v any) error {
	data, err := base64.RawURLEncoding.Strict().DecodeString(segment)
	if err != nil {
		return err
	}
	return strictjson.Rules{Depth: maxTokenDepth, AllowUnknown: true}.DecodeBytes(data, v)
}

// claims are the claims of a JWT by their exact names, none of them twice.
type claims map[string]json.RawMessage

// UnmarshalJSON is called by the JWT library.
func (c *claims) UnmarshalJSON(data []byte) error {
	return strictjson.Rules{Depth: maxTokenDepth, AllowUnknown: true}.DecodeBytes(data, (*map[string]json.RawMessage)(c))
}

// text is a claim that must be text; "" if it is not there.
func (c claims) text(name string) (string, error) {
	raw, ok := c[name]
	if !ok {
		return "", nil
	}
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil {
		return "", errNotText
	}
	return *s, nil
}

var (
	errNotText = errors.New("not text")
	errNotDate = errors.New("not a number of seconds")
)

// list is a claim that is text or a list of texts.
func (c claims) list(name string) ([]string, error) {
	raw, ok := c[name]
	if !ok {
		return nil, nil
	}
	if s, err := c.text(name); err == nil {
		return []string{s}, nil
	}
	var list []*string
	if err := json.Unmarshal(raw, &list); err != nil || list == nil {
		return nil, errNotText
	}
	texts := make([]string, len(list))
	for i, s := range list {
		if s == nil {
			return nil, errNotText
		}
		texts[i] = *s
	}
	return texts, nil
}

// scopes are those of RFC 8693, or else of scp, which some issuers write.
func (c claims) scopes() ([]string, error) {
	if _, ok := c["scope"]; ok {
		s, err := c.text("scope")
		return strings.Fields(s), err
	}
	list, err := c.list("scp")
	return strings.Fields(strings.Join(list, " ")), err
}

// maxDate is the last second of the year 9999.
const maxDate = 253402300799

func (c claims) date(name string) (*jwt.NumericDate, error) {
	raw, ok := c[name]
	if !ok {
		return nil, nil
	}
	var seconds *float64
	if err := json.Unmarshal(raw, &seconds); err != nil || seconds == nil || *seconds < 0 || *seconds > maxDate {
		return nil, errors.Join(errNotDate, jwt.ErrInvalidType)
	}
	whole, fraction := math.Modf(*seconds)
	return jwt.NewNumericDate(time.Unix(int64(whole), int64(fraction*float64(time.Second)))), nil
}

// The methods that the JWT library validates by.

func (c claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.date("exp") }
func (c claims) GetIssuedAt() (*jwt.NumericDate, error)       { return c.date("iat") }
func (c claims) GetNotBefore() (*jwt.NumericDate, error)      { return c.date("nbf") }
func (c claims) GetIssuer() (string, error)                   { return c.text("iss") }
func (c claims) GetSubject() (string, error)                  { return c.text("sub") }

func (c claims) GetAudience() (jwt.ClaimStrings, error) {
	list, err := c.list("aud")
	return list, err
}
