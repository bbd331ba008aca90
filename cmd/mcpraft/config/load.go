package config

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
)

// Layers are the sources of a configuration, weakest first; the zero value gives
// the defaults.
type Layers struct {
	Files    []string               // read in this order, each over the ones before
	Environ  []string               // "NAME=value" as os.Environ gives them; others than MCPRAFT_SECTION__KEY are ignored
	Set      []string               // "section.key=value", the flag --set
	Hostname func() (string, error) // names the node when nothing else does; nil means os.Hostname
}

// A Loaded is a configuration that holds together, and where it came from.
type Loaded struct {
	Config  Config
	origins map[string]Origin
	lines   map[string][]string
}

// loader is a configuration in the making.
type loader struct {
	config   Config
	origins  map[string]Origin   // by path: newest origin of a value, or of the key of a section
	lines    map[string][]string // by file: its text
	problems []Problem
	suspect  map[string]bool // values that could not be taken, and sections with an unknown key
	unread   bool            // a file could not be read at all
}

// Load reads and checks all layers. The error is an *Error with every mistake,
// or that of a file that cannot be read. It looks at no file that the
// configuration names: see [Loaded.CheckFiles].
func Load(layers Layers) (*Loaded, error) {
	return load(func(l *loader) error { return l.decodeFiles(layers.Files) }, layers)
}

// load is Load with the files decoded by files.
func load(files func(*loader) error, layers Layers) (*Loaded, error) {
	l := &loader{config: Default(), origins: make(map[string]Origin), lines: make(map[string][]string), suspect: make(map[string]bool)}
	if err := files(l); err != nil {
		return nil, err
	}
	for _, variable := range slices.Sorted(slices.Values(layers.Environ)) {
		l.setVariable(variable)
	}
	for _, assignment := range layers.Set {
		l.setFlag(assignment)
	}
	l.nameNode(layers.Hostname)
	l.check()
	if len(l.problems) > 0 {
		return nil, newError(l.problems, l.lines)
	}
	return &Loaded{Config: l.config, origins: l.origins, lines: l.lines}, nil
}

func (l *loader) decodeFiles(names []string) error {
	for _, name := range names {
		data, err := readFile(name)
		if err != nil {
			return err
		}
		l.decodeFile(name, data)
	}
	return nil
}

// readFile reads at most one byte more than a configuration may have.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fileFault(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fileFault(err)
	}
	return data, nil
}

func (l *loader) add(o Origin, hint, format string, args ...any) {
	l.problems = append(l.problems, Problem{Origin: o, Message: fmt.Sprintf(format, args...), Hint: hint})
}

const envPrefix = "MCPRAFT_"

// setVariable takes MCPRAFT_SECTION__KEY=value. An empty variable counts as unset,
// as orchestrators pass it on; names without a double underscore belong to the
// command line client.
func (l *loader) setVariable(variable string) {
	name, value, _ := strings.Cut(variable, "=")
	rest, ok := strings.CutPrefix(name, envPrefix)
	if !ok || value == "" || !strings.Contains(rest, "__") {
		return
	}
	path := strings.Split(strings.ToLower(rest), "__")
	l.set(reflect.ValueOf(&l.config).Elem(), "", path, value, Origin{Layer: FromEnv, Name: name})
}

// Variable is the name of the environment variable that sets path.
func Variable(path string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "__"))
}

// setFlag takes section.key=value.
func (l *loader) setFlag(assignment string) {
	path, value, ok := strings.Cut(assignment, "=")
	origin := Origin{Layer: FromFlag, Name: "--set " + path}
	if !ok {
		l.add(origin, "write --set section.key=value", "no value is given")
		return
	}
	l.set(reflect.ValueOf(&l.config).Elem(), "", strings.Split(path, "."), value, origin)
}

// set gives the field that path leads to from v, the section at the path at, the
// value in. A list is written with commas.
func (l *loader) set(v reflect.Value, at string, path []string, in string, origin Origin) {
	f, ok := fieldNamed(v.Type(), path[0])
	if !ok {
		message, hint, _ := describeUnknown(at, v.Type(), path[0])
		l.problems = append(l.problems, Problem{Origin: origin, Message: message, Hint: hint})
		l.suspect[at] = true
		return
	}
	at, path, v = under(at, f.key), path[1:], v.Field(f.index)
	switch shape := shapeOf(f.typ); {
	case shape == section && len(path) > 0:
		l.set(v, at, path, in, origin)
	case shape == named && len(path) > 1:
		l.setNamed(v, at, path, in, origin)
	case shape == section || shape == named:
		l.add(origin, "", "%s is a section, name one of its keys", at)
	case len(path) > 0:
		l.add(origin, "", "%s has no key %q: it is a value", at, strings.Join(path, "."))
	case shape == list:
		l.origins[at] = origin
		l.setList(f, v, at, in, origin)
	default:
		l.origins[at] = origin
		if err := f.assign(v, in); err != nil {
			l.add(origin, "", "%s: %v", at, err)
			l.suspect[at] = true
		}
	}
}

func (l *loader) setNamed(v reflect.Value, at string, path []string, in string, origin Origin) {
	name := path[0]
	if err := nameError(name); err != nil {
		l.add(origin, "", "%s: %v", at, err)
		return
	}
	inner := l.entry(v, name)
	l.set(inner, under(at, name), path[1:], in, origin)
	v.SetMapIndex(reflect.ValueOf(name), inner)
}

func (l *loader) setList(f field, v reflect.Value, at, in string, origin Origin) {
	items := []string{}
	for item := range strings.SplitSeq(in, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		if err := plain(item); err != nil {
			l.add(origin, "", "%s: %v", at, err)
			return
		}
		items = append(items, item)
	}
	if len(items) > maxListItems {
		l.add(origin, "", "%s has %d items, the limit is %d", at, len(items), maxListItems)
		return
	}
	v.Set(reflect.ValueOf(items))
}

// nameNode gives a node without a name that of its host.
func (l *loader) nameNode(hostname func() (string, error)) {
	if l.config.Node.Name != "" {
		return
	}
	if hostname == nil {
		hostname = os.Hostname
	}
	host, err := hostname()
	if err != nil {
		l.add(Origin{Layer: FromHost}, "set node.name", "node.name is empty and the host has no name: %v", err)
		return
	}
	host, _, _ = strings.Cut(host, ".")
	l.config.Node.Name = strings.ToLower(host)
	l.origins["node.name"] = Origin{Layer: FromHost}
}
