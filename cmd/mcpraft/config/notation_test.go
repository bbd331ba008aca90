package config

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDurationsAreReadBackAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Duration(rapid.Int64Range(0, int64(65535*day)).Draw(t, "ns"))
		var got Duration
		if err := got.UnmarshalText([]byte(want.String())); err != nil || got != want {
			t.Fatalf("%q reads as %v (%v), want %d", want, got, err, want)
		}
	})
}

func TestSizesAreReadBackAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Size(rapid.Int64Min(0).Draw(t, "bytes"))
		var got Size
		if err := got.UnmarshalText([]byte(want.String())); err != nil || got != want {
			t.Fatalf("%q reads as %v (%v), want %d", want, got, err, want)
		}
	})
}

func TestDurationNotation(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"0s": 0, "250ms": 250 * time.Millisecond, "1h30m": 90 * time.Minute, "7d": 7 * day, "1d12h": 36 * time.Hour, "1.5h": 90 * time.Minute,
	} {
		var d Duration
		if err := d.UnmarshalText([]byte(in)); err != nil || d.Std() != want {
			t.Errorf("%q = %v (%v), want %v", in, d, err, want)
		}
	}
	for _, in := range []string{"", "0", "7", "1.5", "d", "-1d", "1d-1h", "1d+1h", "1w", "1d1d", "99999999d", "s", "1d2", " 1s", "NaN", "inf"} {
		var d Duration
		if err := d.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q = %v, want an error", in, d)
		}
	}
}

func TestSizeNotation(t *testing.T) {
	for in, want := range map[string]int64{"0B": 0, "512B": 512, "64KiB": 64 << 10, "256 MiB": 256 << 20, "4GiB": 4 << 30, "1TiB": 1 << 40} {
		var s Size
		if err := s.UnmarshalText([]byte(in)); err != nil || s.Bytes() != want {
			t.Errorf("%q = %v (%v), want %d", in, s, err, want)
		}
	}
	for _, in := range []string{"", "B", "1", "-1B", "+1B", "1.5GiB", "1MB", "1k", "1PiB", "9999999999TiB", "1 2B", "0x10B"} {
		var s Size
		if err := s.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q = %v, want an error", in, s)
		}
	}
}
