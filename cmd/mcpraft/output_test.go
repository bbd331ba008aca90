package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"
)

// hostile is text that a stranger may have chosen as a name.
const hostile = "a\x1b[31mb\u202ec\u200bd\x00e\u0085f\U000e0041g\u2028h\nend"

func TestNothingHostileReachesATerminal(t *testing.T) {
	for _, f := range formats {
		a, stdout, stderr := testApp()
		a.flags.output = format(f)
		err := a.show(map[string]string{"name": hostile}, func(p *page) {
			p.line("%s %v", hostile, errors.New(hostile))
			p.fields([2]string{hostile, hostile})
			p.table([]string{"NAME"}, [][]string{{hostile}})
			p.line("%s", p.paint(red, hostile))
		})
		if err != nil {
			t.Fatal(err)
		}
		a.fail(errors.New(hostile))
		a.note("%s", hostile)
		if out := stdout.String() + stderr.String(); strings.ContainsAny(out, "\x1b\u202e\u200b\x00\u0085\U000e0041\u2028") {
			t.Errorf("%s: %q reaches the terminal", f, out)
		}
	}
}

func TestJSONAndYAMLGiveBackWhatWasShown(t *testing.T) {
	type row struct {
		Text  string         `json:"text"`
		List  []string       `json:"list"`
		Inner map[string]any `json:"inner"`
	}
	words := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
		hostile, "", " ", "true", "No", "null", "~", "1", "1e3", "0x1f", "1:30", "a: b", "- a", "#x", "a #b", "{", "@a", "!t", "&a", "*a", "%", "2026-01-02", "a ", "👩‍👩‍👧", "\ufeffx", "\ufffd",
	}))
	rapid.Check(t, func(t *rapid.T) {
		want := []row{{
			Text: words.Draw(t, "text"),
			List: rapid.SliceOf(words).Draw(t, "list"),
			Inner: map[string]any{
				words.Draw(t, "key"): words.Draw(t, "value"),
				"deep":               []any{[]any{words.Draw(t, "deep"), true, nil}, map[string]any{}, []any{}, map[string]any{"a": "b", "c": []any{"d"}}},
			},
		}}
		text, err := encodeJSON(want)
		if err != nil {
			t.Fatal(err)
		}
		var fromJSON, fromYAML any
		if err := json.Unmarshal(text, &fromJSON); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		asYAML, err := yamlOf(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(asYAML, &fromYAML); err != nil {
			t.Fatalf("%v in\n%s", err, asYAML)
		}
		if !reflect.DeepEqual(fromYAML, fromJSON) {
			t.Fatalf("YAML\n%s\nreads as %v\nJSON\n%s\nreads as %v", asYAML, fromYAML, text, fromJSON)
		}
	})
}

func TestTablesFillEmptyCells(t *testing.T) {
	var b bytes.Buffer
	(&page{w: &b}).table([]string{"NAME", "STATE", "LAST"}, [][]string{{"n1", "ready", "1s"}, {"node-2", ""}})
	want := "NAME    STATE  LAST\nn1      ready  1s\nnode-2  -      -\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestNothingIsShownWhenAValueDoesNotEncode(t *testing.T) {
	a, stdout, _ := testApp()
	a.flags.output = formatJSON
	if err := a.show(make(chan int), nil); err == nil || stdout.Len() > 0 {
		t.Errorf("error %v, stdout %q", err, stdout)
	}
}

func TestConfirmNeedsYesWithoutATerminal(t *testing.T) {
	a, _, stderr := testApp()
	if err := a.confirm("delete the cluster", "prod", false); err == nil || !strings.Contains(err.Error(), "no terminal") {
		t.Errorf("error = %v", err)
	}
	if err := a.confirm("delete the cluster", "prod", true); err != nil || stderr.Len() > 0 {
		t.Errorf("error = %v, stderr %q", err, stderr)
	}
}
