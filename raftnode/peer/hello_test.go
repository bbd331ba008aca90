package peer

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/fsm/record"
	"github.com/mcpraft/mcpraft/internal/fault"
)

// The examples of docs/format/peer.md are the golden bytes of the format.
const formatPage = "../../docs/format/peer.md"

var (
	exampleIdentity = wireIdentity{
		Cluster: "prod", ClusterID: id(0xc1), Timeline: testTimeline, Node: "n1", Disk: id(0xd1), Process: id(0xa1),
	}
	exampleFault = fault.New(fault.NoLeader, "n2 does not lead").WithHint("ask n3").WithDetail("leader", "n3").After(70 * time.Millisecond)
)

func examples() map[string][]byte {
	refusal := refuse(ReasonDisk, fault.Conflict, "target disk d2000000 is not mine")
	return map[string][]byte{
		"hello":   must(encodeHello(&hello{From: exampleIdentity, Target: id(0xd2)})),
		"welcome": must(encodeHello(&welcome{From: &exampleIdentity})),
		"refusal": must(encodeHello(&welcome{Refusal: toWire(refusal)})),
		"fault":   encodeFault(exampleFault),
	}
}

func TestBytesAreThoseOfTheFormatPage(t *testing.T) {
	page := string(must(os.ReadFile(formatPage)))
	_, section, _ := strings.Cut(page, "## Examples")
	for name, b := range examples() {
		_, rest, ok := strings.Cut(section, "\n### "+name+"\n")
		text, _, _ := strings.Cut(rest, "###")
		var written strings.Builder
		for line := range strings.Lines(text) {
			if block, ok := strings.CutPrefix(line, "    "); ok {
				written.WriteString(strings.TrimSpace(block))
			}
		}
		if !ok || written.String() != hex.EncodeToString(b) {
			t.Errorf("%s on the page is\n%s, the code writes\n%s", name, written.String(), wrap(hex.EncodeToString(b)))
		}
	}
}

func wrap(s string) string {
	var b strings.Builder
	for len(s) > 96 {
		fmt.Fprintf(&b, "    %s\n", s[:96])
		s = s[96:]
	}
	return b.String() + "    " + s
}

func TestReasonsAreThoseOfTheFormatPage(t *testing.T) {
	page := string(must(os.ReadFile(formatPage)))
	for r := range reasons {
		if !strings.Contains(page, "| `"+string(r)+"` |") {
			t.Errorf("docs/format/peer.md does not tell of reason %s", r)
		}
	}
}

func TestHelloIsReadBackAndNotAByteMore(t *testing.T) {
	want := hello{From: exampleIdentity, Target: id(0xd2)}
	r := bytes.NewReader(append(must(encodeHello(&want)), "frames"...))
	var got hello
	if err := readHello(r, &got); err != nil || got != want {
		t.Errorf("read %+v, %v", got, err)
	}
	if r.Len() != len("frames") {
		t.Errorf("%d bytes are left, want %d", r.Len(), len("frames"))
	}
}

func TestWelcomeIsEitherOr(t *testing.T) {
	for _, w := range []welcome{{}, {From: &exampleIdentity, Refusal: toWire(exampleFault)}, {From: &wireIdentity{}}} {
		var got welcome
		if err := readHello(bytes.NewReader(must(encodeHello(&w))), &got); ReasonOf(err) != ReasonHello {
			t.Errorf("%+v was taken: %v", w, err)
		}
	}
}

func TestIdentityNeedsAllItsParts(t *testing.T) {
	for name, spoil := range map[string]func(*Identity){
		"cluster":  func(i *Identity) { i.Cluster = "" },
		"node":     func(i *Identity) { i.Node = "N1" },
		"timeline": func(i *Identity) { i.Timeline = record.Timeline{} },
		"id":       func(i *Identity) { i.ClusterID = record.ID{} },
		"disk":     func(i *Identity) { i.Disk = record.ID{} },
		"process":  func(i *Identity) { i.Process = record.ID{} },
	} {
		i := Identity(exampleIdentity)
		if err := i.validate(); err != nil {
			t.Fatal(err)
		}
		if spoil(&i); i.validate() == nil {
			t.Errorf("identity with a bad %s is valid: %+v", name, i)
		}
	}
}

func TestFaultIsCutToItsBounds(t *testing.T) {
	e := fault.New(fault.Quota, "%s", strings.Repeat("ü", maxFaultText)).WithHint("\xff").After(1000 * time.Hour)
	for i := range 2 * maxFaultDetails {
		e.WithDetail(fmt.Sprintf("%02d%s", i, strings.Repeat("k", maxDetailText)), strings.Repeat("v", 2*maxDetailText))
	}
	got := decodeFault(encodeFault(e))
	if got.Kind != fault.Quota || len(got.Message) != maxFaultText || got.Hint != "\uFFFD" || len(got.Details) != maxFaultDetails || got.RetryAfter != time.Hour {
		t.Errorf("%+v", got)
	}
	if b := must(encodeHello(&welcome{Refusal: toWire(e)})); len(b) > helloHeadSize+maxHello {
		t.Errorf("a refusal of %d bytes does not fit", len(b))
	}
}

func TestUnknownKindIsInternal(t *testing.T) {
	got := decodeFault(must(record.Encode(&wireFault{Kind: 250, Message: "of a newer node"})))
	if got.Kind != fault.Internal || got.Message != "of a newer node" {
		t.Errorf("%+v", got)
	}
	if got := decodeFault([]byte("no CBOR")); got.Kind != fault.Internal {
		t.Errorf("%+v", got)
	}
}

func FuzzHello(f *testing.F) {
	for _, b := range examples() {
		f.Add(b)
	}
	f.Add([]byte{2, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var h hello
		if readHello(bytes.NewReader(b), &h) == nil {
			// What is taken is whole, and has one encoding.
			again := must(encodeHello(&h))
			var same hello
			if err := readHello(bytes.NewReader(again), &same); err != nil || same != h {
				t.Errorf("%+v became %+v, %v", h, same, err)
			}
			if h.From.Node == "" || h.From.Cluster == "" || h.From.Process.IsZero() {
				t.Errorf("incomplete hello was taken: %+v", h)
			}
		}
		var w welcome
		if err := readHello(bytes.NewReader(b), &w); err == nil && w.Refusal != nil {
			if e := refusal(w.Refusal); fault.Of(e) == 0 || !reasons[ReasonOf(e)] {
				t.Errorf("refusal became %v", e)
			}
		}
	})
}

func FuzzFault(f *testing.F) {
	f.Add(encodeFault(exampleFault))
	f.Add(encodeFault(errors.New("internal")))
	f.Fuzz(func(t *testing.T, b []byte) {
		e := decodeFault(b)
		if !e.Kind.Known() {
			t.Errorf("kind %d came through", e.Kind)
		}
		// Sent on, it is the same within the bounds.
		if again := decodeFault(encodeFault(e)); again.Kind != e.Kind || len(again.Message) > maxFaultText || len(again.Details) > maxFaultDetails {
			t.Errorf("%+v became %+v", e, again)
		}
	})
}
