package demo

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mcpraft/mcpraft/server/mcp"
)

const (
	clockURI    = "demo://clock"
	notePrefix  = "demo://note/"
	countPrefix = "demo://count/"

	maxNotes = 100
	maxNote  = 4096 // bytes of one
)

// templates are the resources that are not listed one by one.
var templates = []mcp.Raw{
	mcp.Raw(`{"uriTemplate":"demo://note/{name}","name":"note","title":"A note","mimeType":"text/plain","description":"What write_note wrote."}`),
	mcp.Raw(`{"uriTemplate":"demo://count/{key}","name":"count","title":"A count","mimeType":"text/plain","description":"How often the tool count was called with a key; reading it counts nothing."}`),
}

// resources are those of the list: the clock and the notes.
func (s *Server) resources() []any {
	list := []any{mcp.Raw(`{"uri":"demo://clock","name":"clock","title":"The clock","mimeType":"text/plain","description":"The time; it is updated every 5 seconds."}`)}
	for _, name := range s.notes.names() {
		list = append(list, map[string]string{"uri": notePrefix + name, "name": name, "title": "Note " + name, "mimeType": "text/plain"})
	}
	return list
}

// read answers resources/read.
func (s *Server) read(c *call) (any, error) {
	uri, err := s.knownURI(c.params)
	if err != nil {
		return nil, err
	}
	content := map[string]string{"uri": uri, "mimeType": "text/plain", "text": s.contents(uri)}
	return map[string]any{"contents": []any{content}}, nil
}

// knownURI is the URI in params, if there is such a resource.
func (s *Server) knownURI(params []byte) (string, error) {
	uri, _ := mcp.Text(mcp.Field(params, "uri"))
	if s.knows(uri) {
		return uri, nil
	}
	e := failure(mcp.CodeResourceNotFound, "there is no resource %q", uri)
	e.Data = encode(map[string]string{"uri": uri})
	return "", e
}

func (s *Server) knows(uri string) bool {
	if name, ok := strings.CutPrefix(uri, notePrefix); ok {
		_, known := s.notes.get(name)
		return known
	}
	return uri == clockURI || strings.HasPrefix(uri, countPrefix)
}

func (s *Server) contents(uri string) string {
	if name, ok := strings.CutPrefix(uri, notePrefix); ok {
		text, _ := s.notes.get(name)
		return text
	}
	if key, ok := strings.CutPrefix(uri, countPrefix); ok {
		return strconv.Itoa(s.counter.of(key))
	}
	return time.Now().UTC().Format(time.RFC3339)
}

// notes are texts that a tool writes. The zero value is ready.
type notes struct {
	mu     sync.Mutex
	byName map[string]string
}

var noteName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// put writes a note and reports whether it is new.
func (n *notes) put(name, text string) (isNew bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, known := n.byName[name]
	switch {
	case !noteName.MatchString(name):
		return false, refused("the name of a note must match %s", noteName)
	case len(text) > maxNote:
		return false, refused("a note has at most %d bytes", maxNote)
	case !known && len(n.byName) == maxNotes:
		return false, refused("there are %d notes, the most that are kept", maxNotes)
	}
	if n.byName == nil {
		n.byName = make(map[string]string)
	}
	n.byName[name] = text
	return !known, nil
}

func (n *notes) get(name string) (text string, known bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	text, known = n.byName[name]
	return text, known
}

// names are the notes' names, sorted.
func (n *notes) names() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Keys(n.byName))
}
