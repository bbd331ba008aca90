package router

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/server/mcp"
	"github.com/mcpraft/mcpraft/server/upstream"
)

const mirroring = `{"resultType":"complete","tools":[{"name":"query","inputSchema":{"type":"object","properties":{` +
	`"region":{"type":"string","x-mcp-header":"Region"},"n":{"type":"integer","x-mcp-header":"N"},"b":{"type":"boolean","x-mcp-header":"B"}}}}]}`

// listsTools makes the upstream answer tools/list by what list gives, and calls by
// nothing; it counts the lists.
func (w *world) listsTools(list func(cursor string) string) *int {
	lists := new(int)
	w.upstreams.call = func(_ context.Context, _ upstream.Caller, m *mcp.Message, _ upstream.Sink) (*mcp.Message, error) {
		if m.Method() == mcp.ToolsList {
			*lists++
			cursor, _ := mcp.Text(mcp.Field(m.Params(), "cursor"))
			return mcp.Answer(m.ID(), []byte(list(cursor))), nil
		}
		return mcp.Answer(m.ID(), nil), nil
	}
	return lists
}

func (w *world) callQuery(t *testing.T, arguments string, headers map[string]string) *mcp.Error {
	t.Helper()
	s := modernSent("tools/call", "query")
	s.params = headers
	return w.post(t, s, modernBody("tools/call", `"name":"query","arguments":`+arguments)).Message.Err()
}

func TestParamHeadersMustMirrorTheArguments(t *testing.T) {
	for name, c := range map[string]struct {
		arguments string
		headers   map[string]string
		ok        bool
	}{
		"mirrored":                      {`{"region":"eu","n":7,"b":true}`, map[string]string{"Region": "eu", "N": "7", "B": "true"}, true},
		"names in another case":         {`{"region":"eu"}`, map[string]string{"REGION": "eu"}, true},
		"encoded":                       {`{"region":"é"}`, map[string]string{"Region": mcp.EncodeHeader("é")}, true},
		"integers by their value":       {`{"n":7}`, map[string]string{"N": "7.0"}, true},
		"absent on both sides":          {`{}`, nil, true},
		"null and absent":               {`{"region":null}`, nil, true},
		"a header that nobody asks for": {`{}`, map[string]string{"Other": "x"}, true},
		"missing header":                {`{"region":"eu"}`, nil, false},
		"missing argument":              {`{}`, map[string]string{"Region": "eu"}, false},
		"other text":                    {`{"region":"eu"}`, map[string]string{"Region": "us"}, false},
		"other number":                  {`{"n":7}`, map[string]string{"N": "8"}, false},
		"bad base64":                    {`{"region":"eu"}`, map[string]string{"Region": "=?base64?%%?="}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.modernUpstream(`{"tools":{}}`)
			w.listsTools(func(string) string { return mirroring })
			e := w.callQuery(t, c.arguments, c.headers)
			if c.ok != (e == nil) || e != nil && e.Code != mcp.CodeHeaderMismatch {
				t.Errorf("error %v, want ok = %v", e, c.ok)
			}
		})
	}
}

func TestListThatAClientSawIsEnforced(t *testing.T) {
	w := newWorld(t)
	w.legacyUpstream(mcp.V20251125, `{"tools":{}}`)
	lists := w.listsTools(func(string) string { return mirroring })
	if e := w.callQuery(t, `{"region":"eu"}`, nil); e != nil || *lists != 0 {
		t.Errorf("before anything was published: %v, %d lists", e, *lists)
	}
	w.post(t, modernSent("tools/list", ""), modernBody("tools/list", ""))
	if e := w.callQuery(t, `{"region":"eu"}`, nil); e == nil {
		t.Error("a call without the header was let through")
	}
	s := modernSent("tools/call", "query")
	s.principal = record.Principal{Issuer: "i", Subject: "bob"}
	if e := w.post(t, s, modernBody("tools/call", `"name":"query","arguments":{"region":"eu"}`)).Message.Err(); e != nil {
		t.Errorf("a list that bob never saw was enforced on him: %v", e)
	}
}

func TestListIsAskedForOnceAndBeforeAnOldOneRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.modernUpstream(`{"tools":{}}`)
		list := mirroring
		lists := w.listsTools(func(string) string { return list })
		good := map[string]string{"Region": "eu"}
		for range 3 {
			if e := w.callQuery(t, `{"region":"eu"}`, good); e != nil {
				t.Fatal(e)
			}
		}
		if *lists != 1 {
			t.Errorf("listed %d times, want 1", *lists)
		}
		time.Sleep(relistAfter)
		list = `{"tools":[{"name":"query","inputSchema":{}}]}` // the header is gone
		if e := w.callQuery(t, `{"region":"eu"}`, nil); e != nil {
			t.Errorf("an old list refused: %v", e)
		}
		list = mirroring
		time.Sleep(publishedFor + time.Second)
		for range 5 {
			if e := w.callQuery(t, `{"region":"eu"}`, nil); e == nil {
				t.Error("a list of long ago was not asked for again")
			}
		}
		if *lists != 3 {
			t.Errorf("listed %d times, want 3: not for each refusal", *lists)
		}
	})
}

func TestListOfManyPagesIsWhole(t *testing.T) {
	w := newWorld(t)
	w.modernUpstream(`{"tools":{}}`)
	w.listsTools(func(cursor string) string {
		if cursor == "" {
			return strings.Replace(mirroring, `"tools"`, `"nextCursor":"2","tools"`, 1)
		}
		return `{"tools":[]}`
	})
	if e := w.callQuery(t, `{"region":"eu"}`, nil); e == nil {
		t.Error("the first page was forgotten")
	}
}

func TestUpstreamThatListsForEverIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.modernUpstream(`{"tools":{}}`)
	lists := w.listsTools(func(string) string { return `{"tools":[],"nextCursor":"more"}` })
	w.callQuery(t, `{}`, nil)
	if *lists != maxListPages {
		t.Errorf("%d pages were asked for, the limit is %d", *lists, maxListPages)
	}
}

func TestListsThatAreRememberedAreBounded(t *testing.T) {
	p := newPublished()
	for i := range maxPublished + 100 {
		p.relayed(listKey{alias: fmt.Sprint(i)}, true, nil)
	}
	if len(p.lists) != maxPublished {
		t.Errorf("%d lists, the limit is %d", len(p.lists), maxPublished)
	}
}

func TestOneOfManyCallersAsksForTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublished()
		asked := 0
		for range 10 {
			go p.ask(t.Context(), listKey{}, func(context.Context, []byte) ([]byte, error) {
				asked++
				time.Sleep(time.Second)
				return []byte(mirroring), nil
			})
		}
		synctest.Wait()
		time.Sleep(2 * time.Second)
		if l := p.get(listKey{}); asked != 1 || l == nil || len(l.mirrored) != 1 {
			t.Errorf("asked %d times, got %v", asked, l)
		}
	})
}
