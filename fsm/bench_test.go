package fsm

import (
	"fmt"
	"testing"

	"github.com/mcpraft/mcpraft/fsm/record"
)

// benchCommands is how many commands an envelope of a busy leader carries.
const benchCommands = 128

// fill creates n sessions of n/16 principals.
func fill(b *testing.B, m *Machine, n int) {
	accepted(b, m, &OpenProducer{ID: testID(1), Node: "node-1"})
	var proposals []Proposal
	for i := range n {
		proposals = append(proposals, propose(&CreateSession{Session: testSession(i, benchPrincipal(i))}))
		if len(proposals) == 256 || i == n-1 {
			if o := applyAll(b, m, proposals...)[0]; o.Kind != 0 {
				b.Fatal(o.Err())
			}
			proposals = proposals[:0]
		}
	}
}

func benchPrincipal(i int) record.Principal {
	return record.Principal{Issuer: "https://idp.example", Subject: fmt.Sprintf("user-%06d", i/16)}
}

// BenchmarkApply measures one command as it comes from the log: decoding,
// window of its producer, reads, writes of record, indexes and counters, commit.
// The state holds a million sessions with four indexes each.
func BenchmarkApply(b *testing.B) {
	m, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	const existing = 1_000_000
	accepted(b, m, &PutSessionSettings{Settings: benchSettings()})
	fill(b, m, existing)
	sequence, next := uint64(0), existing
	for _, bench := range []struct {
		name    string
		command func(i int) Command
	}{
		{"CreateSession", func(int) Command {
			next++
			return &CreateSession{Session: testSession(next, benchPrincipal(next))}
		}},
		{"UpdateSession", func(i int) Command {
			return &UpdateSession{ID: testSession(i*7919%existing, testActor).ID, OwnerNode: new("node-2")}
		}},
		{"RegisterEntry", func(i int) Command {
			sequence := sequence
			return &RegisterEntry{Entry: record.Entry{
				Type: record.TypeTool, Key: fmt.Sprintf("tool-%d-%d", sequence, i), Location: "https://example.com/mcp",
				Metadata: map[string]string{"data": string(make([]byte, 0, 1)) + fmt.Sprintf("%0200d", i)},
			}}
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			applied := 0
			for b.Loop() {
				b.StopTimer()
				proposals := make([]Proposal, benchCommands)
				for i := range proposals {
					sequence++
					proposals[i] = Proposal{
						Actor: testActor, Producer: testID(1), Sequence: sequence, Acked: max(sequence, 512) - 512,
						RequestID: "req-0123456789abcdef", Command: bench.command(applied + i),
					}
				}
				entry := envelopeEntry(b, m.Meta().Index+1, 0, proposals...)
				b.StartTimer()
				results, err := m.Apply([]Entry{entry})
				if err != nil {
					b.Fatal(err)
				}
				applied += len(results[0])
				for _, o := range results[0] {
					if o.Kind != 0 {
						b.Fatal(o.Err())
					}
				}
			}
			b.ReportMetric(float64(m.Stats().Stalls), "stalls")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(applied), "µs/command")
		})
	}
	b.Run("View", func(b *testing.B) {
		for b.Loop() {
			v, err := m.View()
			if err != nil {
				b.Fatal(err)
			}
			v.Close()
		}
	})
}

func benchSettings() record.SessionSettings {
	s := record.DefaultSessionSettings()
	s.MaxTotal = 100_000_000
	return s
}
