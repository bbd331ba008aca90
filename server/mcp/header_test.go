package mcp

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestHeaderValuesSurviveAndArePrintable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "plain", " lead", "trail\t", "=?base64?eA==?=", "=?base64?", "é", "a b", "\x00", "x\r\ny: z"})).Draw(t, "value")
		header := EncodeHeader(value)
		if strings.ContainsFunc(header, func(r rune) bool { return r != '\t' && (r < ' ' || r > '~') }) {
			t.Fatalf("%q is written %q", value, header)
		}
		if got, err := DecodeHeader(" " + header + "\t"); err != nil || got != value {
			t.Fatalf("%q is written %q and read %q, %v", value, header, got, err)
		}
	})
}

func TestDecodeHeaderRefuses(t *testing.T) {
	for _, header := range []string{"é", "\x00", "a\x7f", "=?base64?%?=", "=?base64?eA?=", "=?base64?/w==?=", "=?base64?eB==?="} {
		if got, err := DecodeHeader(header); err == nil {
			t.Errorf("DecodeHeader(%q) = %q", header, got)
		}
	}
	for header, want := range map[string]string{"=?BASE64?eA==?=": "=?BASE64?eA==?=", "=?base64??=": "", "": ""} {
		if got, err := DecodeHeader(header); err != nil || got != want {
			t.Errorf("DecodeHeader(%q) = %q, %v, want %q", header, got, err, want)
		}
	}
}

func FuzzHeader(f *testing.F) {
	f.Add("=?base64?w6k=?=", "x")
	f.Fuzz(func(t *testing.T, header, value string) {
		if plain, err := DecodeHeader(header); err == nil {
			if again, err := DecodeHeader(EncodeHeader(plain)); err != nil || again != plain {
				t.Fatalf("%q is %q, and then %q, %v", header, plain, again, err)
			}
		}
	})
}

func TestHeaderParamsFollowTheRules(t *testing.T) {
	good := `{"type":"object","properties":{
		"region":{"type":"string","x-mcp-header":"Region"},
		"opts":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"},"x-mcp-header":{"type":"boolean","x-mcp-header":"odd"}}},
		"data":{"type":"object","default":{"x-mcp-header":"not a schema"},"enum":[{"x-mcp-header":1}]}}}`
	params, err := HeaderParams([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range params {
		got = append(got, p.Name()+"="+strings.Join(p.Path, ".")+":"+p.Type)
	}
	if want := []string{"Mcp-Param-Region=region:string", "Mcp-Param-N=opts.n:integer", "Mcp-Param-odd=opts.x-mcp-header:boolean"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	for name, schema := range map[string]string{
		"empty":          `{"properties":{"a":{"type":"string","x-mcp-header":""}}}`,
		"no string":      `{"properties":{"a":{"type":"string","x-mcp-header":1}}}`,
		"no token":       `{"properties":{"a":{"type":"string","x-mcp-header":"a b"}}}`,
		"line end":       `{"properties":{"a":{"type":"string","x-mcp-header":"a\r\nb"}}}`,
		"twice":          `{"properties":{"a":{"type":"string","x-mcp-header":"X"},"b":{"type":"string","x-mcp-header":"x"}}}`,
		"a number":       `{"properties":{"a":{"type":"number","x-mcp-header":"X"}}}`,
		"no type":        `{"properties":{"a":{"x-mcp-header":"X"}}}`,
		"several types":  `{"properties":{"a":{"type":["string","null"],"x-mcp-header":"X"}}}`,
		"an object":      `{"properties":{"a":{"type":"object","x-mcp-header":"X"}}}`,
		"the root":       `{"type":"string","x-mcp-header":"X"}`,
		"in items":       `{"properties":{"a":{"type":"array","items":{"type":"string","x-mcp-header":"X"}}}}`,
		"in anyOf":       `{"anyOf":[{"properties":{"a":{"type":"string","x-mcp-header":"X"}}}]}`,
		"in a condition": `{"if":{"properties":{"a":{"type":"string","x-mcp-header":"X"}}}}`,
		"in $defs":       `{"$defs":{"d":{"type":"string","x-mcp-header":"X"}}}`,
	} {
		if params, err := HeaderParams([]byte(schema)); err == nil {
			t.Errorf("%s: found %v", name, params)
		}
	}
}

func TestHeaderParamsAreComparedByValue(t *testing.T) {
	text := HeaderParam{Header: "T", Path: []string{"o", "t"}, Type: "string"}
	number := HeaderParam{Header: "N", Path: []string{"n"}, Type: "integer"}
	flag := HeaderParam{Header: "F", Path: []string{"f"}, Type: "boolean"}
	const arguments = `{"o":{"t":"é"},"n":1e2,"f":true,"null":null}`
	for _, test := range []struct {
		p       HeaderParam
		header  string
		present bool
		args    string
		ok      bool
	}{
		{text, "=?base64?w6k=?=", true, arguments, true},
		{text, "e", true, arguments, false},
		{text, "", false, arguments, false},
		{text, "", false, `{}`, true},
		{text, "x", true, `{}`, false},
		{text, "", false, `{"o":{"t":null}}`, true},
		{text, "", true, `{"o":{"t":""}}`, true},
		{number, "100", true, arguments, true},
		{number, "0100", true, arguments, true},
		{number, "100.0", true, arguments, true},
		{number, "101", true, arguments, false},
		{number, "12345678901234567890123", true, `{"n":12345678901234567890123}`, true},
		{number, "12345678901234567890124", true, `{"n":12345678901234567890123}`, false},
		{number, "1e999999999", true, arguments, false},
		{number, "1", true, `{"n":1e999999999}`, false},
		{flag, "true", true, arguments, true},
		{flag, "True", true, arguments, false},
	} {
		if err := test.p.Check(test.header, test.present, []byte(test.args)); (err == nil) != test.ok {
			t.Errorf("%s: %q (%v) against %s: %v", test.p.Name(), test.header, test.present, test.args, err)
		}
	}
}

func TestNegotiateLegacyNeverGivesTheModernRevision(t *testing.T) {
	for requested, want := range map[string]Version{
		"2024-11-05": V20241105, "2025-03-26": V20250326, "2025-06-18": V20250618, "2025-11-25": V20251125,
		"2026-07-28": V20251125, "2031-01-01": V20251125, "": V20251125, "1": V20251125,
	} {
		if got := NegotiateLegacy(requested); got != want {
			t.Errorf("NegotiateLegacy(%q) = %s, want %s", requested, got, want)
		}
	}
	for v, modern := range map[Version]bool{V20260728: true, "2031-01-01": true, V20251125: false, "": false, "latest": false, "2026-07-280": false} {
		if v.Modern() != modern {
			t.Errorf("%q is modern: %v", v, !modern)
		}
	}
}

func TestCapabilitiesSayWhatIsMissing(t *testing.T) {
	for _, test := range []struct{ declared, method, params, missing string }{
		{`{}`, RootsList, `{}`, `{"roots":{}}`},
		{`{"roots":{}}`, RootsList, `{}`, ``},
		{`{"elicitation":{}}`, ElicitationCreate, `{"message":"m"}`, ``},
		{`{"elicitation":{}}`, ElicitationCreate, `{"mode":"url"}`, `{"elicitation":{"url":{}}}`},
		{`{"elicitation":{"url":{}}}`, ElicitationCreate, `{"mode":"form"}`, `{"elicitation":{"form":{}}}`},
		{`{"elicitation":true}`, ElicitationCreate, `{}`, `{"elicitation":{"form":{}}}`},
		{`{"sampling":{}}`, SamplingCreate, `{"messages":[]}`, ``},
		{`{"sampling":{}}`, SamplingCreate, `{"tools":[]}`, `{"sampling":{"tools":{}}}`},
		{`null`, SamplingCreate, `{}`, `{"sampling":{}}`},
		{`{}`, Ping, ``, ``},
	} {
		c := ParseClientCapabilities([]byte(test.declared))
		if got := string(c.Missing(test.method, []byte(test.params))); got != test.missing || c.Allows(test.method, []byte(test.params)) != (got == "") {
			t.Errorf("%s asked %s %s misses %s, want %s", test.declared, test.method, test.params, got, test.missing)
		}
	}
}

func TestInputRequiredReadsAsItWasWritten(t *testing.T) {
	want := []InputRequest{{Key: "b", Method: RootsList}, {Key: `a"`, Method: ElicitationCreate, Params: []byte(`{"message":"m"}`)}}
	result := InputRequired(want, "st")
	var got []InputRequest
	for r := range InputRequests(result) {
		got = append(got, r)
	}
	equal := func(a, b InputRequest) bool {
		return a.Key == b.Key && a.Method == b.Method && string(a.Params) == string(b.Params)
	}
	if state, ok := RequestState(result); !slices.EqualFunc(got, want, equal) || !ok || state != "st" || ResultType(result) != ResultInputRequired {
		t.Errorf("%s reads as %v", result, got)
	}
	if _, ok := RequestState(InputRequired(want, "")); ok {
		t.Error("a state that was not given is there")
	}
}
