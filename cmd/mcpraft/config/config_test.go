package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/internal/fault"
)

var rewrite = flag.Bool("rewrite", false, "write golden files instead of comparing with them")

// golden compares got with the file, or writes the file with -rewrite.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (go test -rewrite writes it)", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -rewrite, then read the diff)\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

func namedHost(name string) func() (string, error) {
	return func() (string, error) { return name, nil }
}

// Each file of testdata/broken is refused, with the report that stands beside it.
func TestEveryMistakeIsReported(t *testing.T) {
	t.Chdir("testdata/broken")
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d broken files, want at least 30 (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(file, ".yaml"), func(t *testing.T) {
			_, err := Load(Layers{Files: []string{file}, Hostname: namedHost("node-1")})
			e, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("error = %v, want an *Error", err)
			}
			if kind := fault.Of(err); kind != fault.Invalid {
				t.Errorf("kind = %v, want invalid", kind)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", []byte(e.Report()))
		})
	}
}

// The files of docs/samples are what a newcomer starts from.
const samples = "../../../docs/samples/"

// The annotated example is generated from the tags and the defaults.
func TestExampleIsCurrent(t *testing.T) { golden(t, samples+"mcpraft.example.yaml", Example()) }

func TestExampleEqualsDefaults(t *testing.T) {
	loaded, err := Load(Layers{Files: []string{samples + "mcpraft.example.yaml"}, Hostname: namedHost("node-1")})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Node.Name = "node-1"
	want.Cluster.Join, want.MCP.AllowedOrigins = []string{}, []string{} // [] in the file
	want.Backup.Encryption.KeyFiles = []string{}
	want.TLS.Profiles, want.Auth.Issuers, want.Upstreams.Secrets = nil, nil, nil
	if got := loaded.Config; !reflect.DeepEqual(got, want) {
		t.Errorf("the example gives\n%+v\nwant the defaults\n%+v", got, want)
	}
	for _, s := range loaded.Settings() {
		if s.Origin.Layer == FromDefault {
			t.Errorf("%s is not in the example", s.Path)
		}
	}
}

func TestDefaultsHoldTogether(t *testing.T) {
	loaded, err := Load(Layers{Hostname: namedHost("Laptop.example.org")})
	if err != nil {
		t.Fatal(err)
	}
	if got := loaded.Config.Node.Name; got != "laptop" {
		t.Errorf("name = %q, want the host name up to its dot in lower case", got)
	}
}

func TestMinimalSampleIsANodeOfThreeInTwelveLines(t *testing.T) {
	file := samples + "mcpraft.minimal.yaml"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if lines := bytes.Count(text, []byte("\n")); lines > 12 {
		t.Errorf("%d lines, want at most 12", lines)
	}
	loaded, err := Load(Layers{Files: []string{file}, Hostname: namedHost("node-1")})
	if err != nil {
		t.Fatal(err)
	}
	c := &loaded.Config
	if c.Cluster.BootstrapExpect != 3 || len(c.Cluster.Join) != 3 {
		t.Errorf("cluster = %+v, want three nodes", c.Cluster)
	}
	for address, want := range map[string]string{c.MCPAddr(): "node-1:7440", c.AdminAddr(): "node-1:7441", c.PeerAddr(): "node-1:7442"} {
		if address != want {
			t.Errorf("advertised %s, want %s", address, want)
		}
	}
}

func TestSchemaIsCurrent(t *testing.T) {
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, samples+"mcpraft.schema.json", text)
}

// Every field of Config has a key, a help, a type that the decoder knows, and
// bounds that its type reads; no key is also one of later.
func TestEveryFieldIsDescribed(t *testing.T) {
	defaults := reflect.ValueOf(Default())
	for s := range sections() {
		for _, f := range fieldsOf(s.typ) {
			path := under(s.path, f.key)
			if f.key == "" || f.help == "" || !strings.HasSuffix(f.help, ".") {
				t.Errorf("%s.%s: key %q, help %q", s.typ, s.typ.Field(f.index).Name, f.key, f.help)
			}
			if isLater(path) {
				t.Errorf("%s works and is listed in later", path)
			}
			if shapeOf(f.typ) == text && f.typ.Kind() != reflect.String {
				t.Errorf("%s has type %v, which the decoder does not know", path, f.typ)
			}
			if (f.min == "") != (f.max == "") || f.min != "" && (f.bound(f.min) == nil || f.bound(f.max) == nil) {
				t.Errorf("%s: bounds %q and %q", path, f.min, f.max)
			}
		}
	}
	for _, s := range (&Loaded{Config: defaults.Interface().(Config)}).Settings() {
		if s.Value == "" && s.Path != "node.name" && !strings.HasSuffix(s.Path, ".tls") && !strings.HasSuffix(s.Path, ".advertise") && !strings.HasSuffix(s.Path, "_file") && !strings.HasSuffix(s.Path, "_url") && !strings.HasSuffix(s.Path, ".schedule") &&
			!strings.HasPrefix(s.Path, "backup.destination.") {
			t.Errorf("%s has no default", s.Path)
		}
	}
}

// What the node takes as a seed, the state machine must take.
func TestSessionBoundsAreThoseOfTheRecord(t *testing.T) {
	for _, set := range []string{"sessions.ttl=1s", "sessions.ttl=30d", "sessions.cleanup_interval=100ms", "sessions.cleanup_interval=1h", "sessions.max_total=100000000"} {
		loaded, err := Load(Layers{Set: []string{set}, Hostname: namedHost("node-1")})
		if err != nil {
			t.Errorf("--set %s: %v", set, err)
			continue
		}
		settings := loaded.Config.Sessions.Settings()
		if err := settings.Validate(); err != nil {
			t.Errorf("--set %s: the record refuses it: %v", set, err)
		}
	}
}

func TestLaterLayersCoverEarlierOnes(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(first, "x-note: {any: thing}\nnode: {name: one, data_dir: /one}\ntls: {profiles: {p: {cert_file: /c, key_file: /k}}}\ncluster: {join: [127.0.0.1:1, 127.0.0.1:2]}\nlog:\n"+
		"auth: {key_file: /keys, issuers: {corp: {issuer: 'https://idp', audience: [mcp], jwks_url: 'https://idp/keys'}}}\n")
	write(second, "node: {name: two}\ntls: {profiles: {p: {ca_file: /ca}}}\ncluster: {join: [127.0.0.1:3]}\n")
	loaded, err := Load(Layers{
		Files: []string{first, second},
		Environ: []string{
			"HOME=/root", "MCPRAFT_ADDR=ignored", "MCPRAFT_LOG__LEVEL=debug", "MCPRAFT_LOG__FORMAT=text",
			"MCPRAFT_TLS__PROFILES__P__KEY_FILE=/env", "MCPRAFT_AUTH__ISSUERS__CORP__CLOCK_SKEW=0s", "MCPRAFT_LISTEN__MCP__ADDR=127.0.0.1:1000",
		},
		Set: []string{"log.level=warn", "cluster.join=127.0.0.1:5, 127.0.0.1:6", "sessions.ttl=2d", "listen.peer.tls=p"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range loaded.Settings() {
		if s.Origin.Layer != FromDefault {
			got = append(got, fmt.Sprintf("%s = %s from %s", s.Path, s.Value, strings.TrimPrefix(s.Origin.String(), dir+"/")))
		}
	}
	want := []string{
		"node.name = two from b.yaml:1:14",
		"node.data_dir = /one from a.yaml:2:29",
		"listen.mcp.addr = 127.0.0.1:1000 from MCPRAFT_LISTEN__MCP__ADDR",
		"listen.peer.tls = p from --set listen.peer.tls",
		"tls.profiles.p.cert_file = /c from a.yaml:3:33",
		"tls.profiles.p.key_file = /env from MCPRAFT_TLS__PROFILES__P__KEY_FILE",
		"tls.profiles.p.ca_file = /ca from b.yaml:2:31",
		"cluster.join = [127.0.0.1:5, 127.0.0.1:6] from --set cluster.join",
		"auth.key_file = /keys from a.yaml:6:18",
		"auth.issuers.corp.issuer = https://idp from a.yaml:6:50",
		"auth.issuers.corp.audience = [mcp] from a.yaml:6:65",
		"auth.issuers.corp.jwks_url = https://idp/keys from a.yaml:6:92",
		"auth.issuers.corp.clock_skew = 0s from MCPRAFT_AUTH__ISSUERS__CORP__CLOCK_SKEW",
		"sessions.ttl = 2d from --set sessions.ttl",
		"log.level = warn from --set log.level",
		"log.format = text from MCPRAFT_LOG__FORMAT",
	}
	if !slices.Equal(got, want) {
		t.Errorf("settings:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestVariablesAndFlagsAreAsStrictAsFiles(t *testing.T) {
	_, err := Load(Layers{
		Environ: []string{
			"MCPRAFT_LISTEN__MPC__ADDR=127.0.0.1:1", "MCPRAFT_SESSIONS__TTL=30", "MCPRAFT_LISTEN__MCP=x",
			"MCPRAFT_NODE__NAME__FIRST=x", "MCPRAFT_BACKUP__ENABLED=true", "MCPRAFT_TLS__PROFILES__P=x",
			"MCPRAFT_NODE__NAME=a\x01b",
		},
		Set:      []string{"log.level", "log.levle=info", "tls.profiles.BAD.cert_file=/c", "cluster.non_voter=1", "node.data_dir="},
		Hostname: namedHost("node-1"),
	})
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("error = %v, want an *Error", err)
	}
	golden(t, "testdata/layers.golden", []byte(e.Report()))
}

func TestHostWithoutAUsableNameIsReported(t *testing.T) {
	for _, host := range []func() (string, error){namedHost("my_host"), func() (string, error) { return "", errors.New("no name") }} {
		if _, err := Load(Layers{Hostname: host}); err == nil || !strings.Contains(err.Error(), "node.name") {
			t.Errorf("error = %v, want one that names node.name", err)
		}
	}
}

func TestMissingFileIsNamed(t *testing.T) {
	_, err := Load(Layers{Files: []string{"no/such.yaml"}})
	if fault.Of(err) != fault.Invalid || !strings.Contains(err.Error(), "no/such.yaml: no such file") {
		t.Errorf("error = %v", err)
	}
}

// Huge and deep files are refused before the parser, whose time grows with the
// square of the tokens, sees them.
func TestFilesAreBounded(t *testing.T) {
	for name, text := range map[string]string{
		"bytes": "# " + strings.Repeat("x", maxFileBytes),
		"depth": strings.Repeat("[", maxFileTokens+1),
		"keys":  strings.Repeat("a: 1\n", maxFileTokens),
	} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(Layers{Files: []string{file}, Hostname: namedHost("node-1")})
		if err == nil || !strings.Contains(err.Error(), "a configuration has at most") {
			t.Errorf("%s: error = %v", name, err)
		}
	}
}

func TestJSONHasTheOrderOfTheFile(t *testing.T) {
	text, err := json.Marshal(Default())
	if err != nil {
		t.Fatal(err)
	}
	rest := string(text)
	for _, f := range fieldsOf(reflect.TypeFor[Config]()) {
		_, after, found := strings.Cut(rest, `"`+f.key+`":`)
		if !found {
			t.Errorf("%s does not stand behind the key before it", f.key)
			continue
		}
		rest = after
	}
	var tree map[string]any
	if err := json.Unmarshal(text, &tree); err != nil {
		t.Errorf("%v in %s", err, text)
	}
}
