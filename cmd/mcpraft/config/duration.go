package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// A Duration is a length of time, written as "250ms", "90s", "1h30m" or with
// days of 24 hours in front, "7d" or "1d12h". It is never negative and always
// has a unit; zero is "0s".
type Duration time.Duration

// Std is d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// UnmarshalText reads the form that String writes.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	rest := s
	var days int64
	if head, tail, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(head, 10, 16)
		if err != nil {
			return fmt.Errorf("%q is not a duration: write it as 90s, 1h30m or 7d", s)
		}
		days, rest = int64(n), tail
	}
	var sum time.Duration
	if rest != "" || rest == s {
		var err error
		if _, bare := strconv.ParseFloat(rest, 64); bare == nil {
			return fmt.Errorf("%q has no unit: write %ss for seconds, %sm for minutes", s, s, s)
		}
		if sum, err = time.ParseDuration(rest); err != nil {
			return fmt.Errorf("%q is not a duration: write it as 90s, 1h30m or 7d", s)
		}
	}
	if sum < 0 || strings.ContainsAny(rest, "+-") {
		return fmt.Errorf("%q is not a length of time: it has no sign", s)
	}
	total := time.Duration(days)*day + sum // at most 65,535 days and 292 years
	if total < sum {
		return fmt.Errorf("%q is longer than 292 years", s)
	}
	*d = Duration(total)
	return nil
}

// String is the shortest exact form of d.
func (d Duration) String() string {
	rest := time.Duration(d)
	if rest == 0 {
		return "0s"
	}
	var b strings.Builder
	if days := rest / day; days > 0 {
		fmt.Fprintf(&b, "%dd", days)
		rest %= day
	}
	if rest == 0 {
		return b.String()
	}
	s := rest.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return b.String() + s
}

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
