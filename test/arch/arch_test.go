package arch

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/mcpraft/mcpraft"

// floors is the floor plan of ARCHITECTURE.md: a package imports only
// from floors below its own. Direct imports count.
var floors = map[string]int{
	"internal/failpoint":  0,
	"internal/fault":      0,
	"internal/frame":      0,
	"internal/requestid":  0,
	"internal/sse":        0,
	"internal/strictjson": 0,

	"fsm/record":         1,
	"internal/blob":      1,
	"internal/process":   1,
	"internal/seal":      1,
	"internal/supervise": 1,
	"server/mcp":         1,

	"fsm":               2,
	"raftnode/logstore": 2,
	"raftnode/peer":     2,
	"server/adminapi":   2,
	"server/exchange":   2,
	"server/mcpclient":  2,
	"snapshot":          2,
	"wal":               2,

	"raftnode":          3,
	"server/bridge":     3,
	"snapshot/recovery": 3,

	"server/archive":    4,
	"server/credential": 4,
	"server/auth":       4,
	"server/catalog":    4,
	"server/demo":       4,
	"server/placement":  4,
	"server/session":    4,
	"server/upstream":   4,

	"server/front/h1": 5,
	"server/router":   5,

	"server/admin": 6,
	"server/front": 6,

	"cmd/mcpraft/clientfile": 7,
	"cmd/mcpraft/config":     7,
	"server":                 7,

	"cmd/mcpraft": 8,
}

// homes names the packages that may import a large dependency, by prefix of the
// import path. A package covers those below it.
var homes = []struct {
	dependency string
	except     []string // import paths below dependency that anyone may name
	packages   []string
}{
	{"github.com/hashicorp/raft", nil, []string{"raftnode"}},
	{"go.etcd.io/bbolt", nil, []string{"raftnode/logstore"}},
	{"github.com/cockroachdb/pebble", []string{"github.com/cockroachdb/pebble/v2/vfs"}, []string{"fsm"}},
	{"github.com/go-json-experiment/json", nil, []string{"internal/strictjson"}},
	{"github.com/goccy/go-yaml", nil, []string{"cmd/mcpraft"}},
	{"github.com/tailscale/hujson", nil, []string{"cmd/mcpraft/clientfile"}},
	{"github.com/pelletier/go-toml", nil, []string{"cmd/mcpraft/clientfile"}},
	{"github.com/thejerf/suture", nil, []string{"internal/supervise"}},
	{"crypto/cipher", nil, []string{"internal/seal"}},
	{"golang.org/x/crypto/chacha20poly1305", nil, []string{"internal/seal"}},
	{"github.com/minio/minio-go", nil, []string{"internal/blob"}},
}

// pure lists what the state machine must not import: it has no clock, no
// randomness, no network, no log and no environment.
var pure = map[string][]string{
	"fsm":        {"net", "net/http", "log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand", "github.com/hashicorp/raft"},
	"fsm/record": {"net", "net/http", "log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand", "os", "io/fs"},
}

// impureCalls are the functions of allowed packages that pure packages must not
// name.
var impureCalls = []string{"time.Now", "time.Since", "time.Until", "time.After", "time.Tick", "time.NewTimer", "time.NewTicker", "time.Sleep", "os.Getenv", "os.LookupEnv", "os.Environ", "os.Hostname"}

// A pkg is what `go list` tells of a package.
type pkg struct {
	Dir        string
	ImportPath string
	Doc        string
	GoFiles    []string
	Imports    []string
}

func (p pkg) name() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// isTest reports whether p serves only tests and may import anything.
func (p pkg) isTest() bool {
	name := p.name()
	return strings.HasPrefix(name, "test/") || strings.HasPrefix(name, "jepsen") || strings.HasSuffix(name, "test")
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=Dir,ImportPath,Doc,GoFiles,Imports", module+"/...")
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		list = append(list, p)
	}
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range packages(t) {
		if p.isTest() {
			continue
		}
		floor, known := floors[p.name()]
		if !known {
			t.Errorf("%s has no floor: add it to floors here and to ARCHITECTURE.md", p.name())
			continue
		}
		for _, imp := range p.Imports {
			below, ours := strings.CutPrefix(imp, module+"/")
			if !ours {
				continue
			}
			if strings.HasPrefix(below, "test/") || strings.HasPrefix(below, "jepsen") {
				t.Errorf("%s imports %s: the product never imports what serves its tests", p.name(), below)
			} else if floors[below] >= floor {
				t.Errorf("%s (floor %d) imports %s (floor %d), which is not below it", p.name(), floor, below, floors[below])
			}
		}
	}
}

func TestEveryFloorHasItsPackage(t *testing.T) {
	var names []string
	for _, p := range packages(t) {
		names = append(names, p.name())
	}
	for name := range floors {
		if !slices.Contains(names, name) {
			t.Errorf("floors lists %s, which does not exist: remove the row", name)
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment: say what it owns, what it promises and what it refuses to know", p.name())
		}
	}
}

func TestLargeDependenciesHaveOneHome(t *testing.T) {
	for _, p := range packages(t) {
		if p.isTest() {
			continue
		}
		for _, home := range homes {
			for _, imp := range p.Imports {
				if under(imp, home.dependency) && !slices.ContainsFunc(home.except, func(e string) bool { return under(imp, e) }) &&
					!slices.ContainsFunc(home.packages, func(h string) bool { return under(p.name(), h) }) {
					t.Errorf("%s imports %s, whose home is %v: go through that package", p.name(), imp, home.packages)
				}
			}
		}
	}
}

// under reports whether path is root or lies below it (or below a version of it).
func under(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

func TestStateMachineIsPure(t *testing.T) {
	for _, p := range packages(t) {
		banned, isPure := pure[p.name()]
		if !isPure {
			continue
		}
		for _, imp := range p.Imports {
			if slices.Contains(banned, imp) {
				t.Errorf("%s imports %s: the state machine takes what it needs as arguments", p.name(), imp)
			}
		}
		set := token.NewFileSet()
		files, info := typeCheck(t, set, p)
		for _, file := range files {
			checkPurity(t, set, file, info)
		}
	}
}

// checkPurity refuses goroutines, impure calls and map ranges in one file. A
// range over a map is allowed where a comment on its line or the one before says
// why the order cannot be seen: "// order: …".
func checkPurity(t *testing.T, set *token.FileSet, file *ast.File, info *types.Info) {
	t.Helper()
	excused := map[int]bool{}
	for _, group := range file.Comments {
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, "// order:") {
				line := set.Position(c.Pos()).Line
				excused[line], excused[line+1] = true, true
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			t.Errorf("%s: the state machine starts no goroutine", set.Position(n.Pos()))
		case *ast.SelectorExpr:
			if fn, ok := info.Uses[n.Sel].(*types.Func); ok && slices.Contains(impureCalls, fn.FullName()) {
				t.Errorf("%s: %s is not a function of the log: take the value from the caller", set.Position(n.Pos()), fn.FullName())
			}
		case *ast.RangeStmt:
			pos := set.Position(n.Pos())
			if _, isMap := info.TypeOf(n.X).Underlying().(*types.Map); isMap && !excused[pos.Line] {
				t.Errorf("%s: ranges over a map: sort the keys, or say why the order cannot be seen in a comment \"// order: …\"", pos)
			}
		}
		return true
	})
}

// typeCheck parses and checks p against the export data of what it imports.
func typeCheck(t *testing.T, set *token.FileSet, p pkg) ([]*ast.File, *types.Info) {
	t.Helper()
	cmd := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", p.ImportPath)
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -export: %v", err)
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		exports[path] = file
	}
	var files []*ast.File
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
	lookup := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	config := types.Config{Importer: importer.ForCompiler(set, "gc", lookup)}
	if _, err := config.Check(p.ImportPath, set, files, info); err != nil {
		t.Fatal(err)
	}
	return files, info
}

// TestDocumentsNameOnlyFilesThatExist keeps the maps of the project true.
func TestDocumentsNameOnlyFilesThatExist(t *testing.T) {
	root := moduleRoot(t)
	for _, doc := range []string{"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"} {
		text, err := os.ReadFile(filepath.Join(root, doc))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, target := range links(string(text)) {
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links to %s, which does not exist", doc, strconv.Quote(target))
			}
		}
	}
}

// links are the relative targets of the Markdown links in text.
func links(text string) []string {
	var targets []string
	for _, rest := range strings.Split(text, "](")[1:] {
		target, _, _ := strings.Cut(rest, ")")
		target, _, _ = strings.Cut(target, "#")
		if target != "" && !strings.Contains(target, "://") {
			targets = append(targets, target)
		}
	}
	return targets
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("go list -m: %v", err)
	}
	return strings.TrimSpace(string(out))
}
