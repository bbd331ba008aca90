package adminapi

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
)

func TestTimesAndDurationsKeepTheirValue(t *testing.T) {
	at := TimeOf(time.Date(2026, 11, 23, 10, 0, 0, 123456789, time.UTC))
	data, err := json.Marshal(map[string]any{"at": at, "for": DurationOf(90 * time.Second)})
	if err != nil || string(data) != `{"at":"2026-11-23T10:00:00.123Z","for":"1m30s"}` {
		t.Errorf("JSON = %s, %v", data, err)
	}
	var back Time
	if err := back.UnmarshalText([]byte("2026-11-23T11:00:00.123+01:00")); err != nil || back != at {
		t.Errorf("back = %v, %v", back, err)
	}
	if TimeOf(time.Time{}) != 0 || !Time(0).Time().IsZero() {
		t.Error("no time is not zero")
	}
	var d Duration
	for _, bad := range []string{"", "1", "soon", "1us", "1.0005s"} {
		if err := d.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("duration %q is taken as %v", bad, d)
		}
	}
}

func TestOnlyARevisionIsAnEntityTag(t *testing.T) {
	if n, err := ParseETag(ETag(42)); n != 42 || err != nil {
		t.Errorf("42 = %d, %v", n, err)
	}
	for _, bad := range []string{"", "42", `"`, `""`, `"0"`, `"042"`, `"+42"`, `"-1"`, `W/"42"`, `"42" `, `"42","43"`, "*", `"99999999999999999999"`, `"4_2"`} {
		if n, err := ParseETag(bad); err == nil {
			t.Errorf("%q is taken as %d", bad, n)
		}
	}
}

func TestEveryKindOfErrorCrossesTheStream(t *testing.T) {
	for k := fault.Kind(1); k.Known(); k++ {
		want := fault.New(k, "what").WithHint("do").WithDetail("a", "b").After(1500 * time.Millisecond)
		status, body := EncodeError(want, "")
		if got := streamError(fault.Kind(status), body); !reflect.DeepEqual(got, want) {
			t.Errorf("%v became %#v", k, got)
		}
	}
}

// goldens are the first bytes of the promise: what an old client sends and an
// old server answers. docs/format/stream.md shows them.
var goldens = map[string]struct {
	value func() ([]byte, error)
	hex   string
}{
	"register": {
		func() ([]byte, error) {
			return EncodeRequest(&RegisterRequest{
				WriteOptions: WriteOptions{IfMatch: 7, IdempotencyKey: "k1"}, Type: "tool", Key: "search",
				EntrySpec: EntrySpec{Metadata: map[string]string{"a": "b"}, OwnerNode: "n1", Location: "x"},
			})
		},
		"a7040705626b310a64746f6f6c0b667365617263680ca1616161620d626e310e6178",
	},
	"whereis": {
		func() ([]byte, error) {
			return EncodeRequest(&WhereIsRequest{ReadOptions: ReadOptions{Consistency: Bounded, MinIndex: 300, MaxStaleness: 1000}, Type: "tool", Key: "a"})
		},
		"a50102021901" + "2c031903e80a64746f6f6c0b6161",
	},
	"receipt": {
		func() ([]byte, error) {
			return EncodeAnswer(Info{Index: 12, Timeline: "1-0000002a", Revision: 8}, Receipt{Revision: 8, Time: 1000})
		},
		"a4010c026a312d30303030303032610508" + "0aa20108021903e8",
	},
	"error": {
		func() ([]byte, error) {
			_, body := EncodeError(fault.New(fault.NotFound, "no such thing").WithHint("look"), "r1")
			return body, nil
		},
		"a3016d6e6f2073756368207468696e670264" + "6c6f6f6b04627231",
	},
}

func TestGoldenBytes(t *testing.T) {
	page, err := os.ReadFile("../../docs/format/stream.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, g := range goldens {
		data, err := g.value()
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(data); got != g.hex {
			t.Errorf("%s = %s, want %s", name, got, g.hex)
		}
		if !strings.Contains(string(page), g.hex) {
			t.Errorf("docs/format/stream.md does not show %s: %s", name, g.hex)
		}
	}
}

func TestEveryOperationIsDescribed(t *testing.T) {
	page, err := os.ReadFile("../../docs/format/stream.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range Operations() {
		if !strings.Contains(string(page), o.Name) {
			t.Errorf("docs/format/stream.md does not describe %s", o.Name)
		}
	}
}

// requests has one empty request of each operation.
func requests() []request {
	return []request{
		new(RegisterRequest), new(UnregisterRequest), new(WhereIsRequest), new(EntriesRequest),
		new(CreateSessionRequest), new(SessionsRequest), new(SessionRequest), new(KillSessionRequest),
		new(SuspendSessionRequest), new(ResumeSessionRequest), new(SessionSettingsRequest), new(PutSessionSettingsRequest),
		new(PutUpstreamRequest), new(UpstreamsRequest), new(UpstreamRequest), new(RemoveUpstreamRequest),
		new(MembersRequest), new(AddMemberRequest), new(PromoteMemberRequest), new(DemoteMemberRequest),
		new(RemoveMemberRequest), new(LeaderRequest), new(TransferLeaderRequest), new(InitClusterRequest),
		new(StatusRequest), new(DigestRequest), new(WorkersRequest),
		new(CreateTokenRequest), new(TokensRequest), new(TokenRequest), new(RevokeTokenRequest), new(RotateKeysRequest),
		new(PutCredentialRequest), new(CredentialsRequest), new(CredentialRequest), new(RemoveCredentialRequest),
		new(UpstreamLogRequest), new(PoolsRequest),
	}
}

func TestRequestsAndOperationsAreOneToOne(t *testing.T) {
	list := requests()
	rows := Operations()
	if len(list) != len(rows) {
		t.Fatalf("%d requests, %d operations", len(list), len(rows))
	}
	for i, r := range list {
		read, write := r.options()
		if r.op() != rows[i].Op || (write != nil) != rows[i].Write || (read == nil) != rows[i].Write {
			t.Errorf("%T does not fit %+v", r, rows[i])
		}
	}
}

// FuzzRequest decodes arbitrary bytes as each request. What decodes encodes to
// something that decodes to the same.
func FuzzRequest(f *testing.F) {
	for _, g := range goldens {
		data, err := hex.DecodeString(g.hex)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, r := range requests() {
			if DecodeRequest(data, r) != nil {
				continue
			}
			first, err := EncodeRequest(r)
			if err != nil {
				t.Fatalf("%T does not encode: %v", r, err)
			}
			again := reflect.New(reflect.TypeOf(r).Elem()).Interface().(request)
			if err := DecodeRequest(first, again); err != nil {
				t.Fatalf("%T does not decode what it encoded: %v", r, err)
			}
			second, err := EncodeRequest(again)
			if err != nil || !bytes.Equal(first, second) {
				t.Fatalf("%T: %x became %x, %v", r, first, second, err)
			}
		}
	})
}

// FuzzAnswer reads arbitrary bytes as answers of both kinds; it must not panic.
func FuzzAnswer(f *testing.F) {
	for _, g := range goldens {
		data, err := hex.DecodeString(g.hex)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(0), data)
	}
	f.Fuzz(func(_ *testing.T, status uint8, data []byte) {
		_ = cborLenient.Unmarshal(data, new(answer[Page[Session]]))
		_ = cborLenient.Unmarshal(data, new(answer[Status]))
		_ = streamError(fault.Kind(status), data)
	})
}
