package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A Size is a number of bytes, written with a binary unit: "512B", "64KiB",
// "32MiB", "4GiB", "1TiB". Zero is "0B".
type Size int64

// sizeUnits are the units from large to small, so that String takes the largest
// that divides.
var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40},
	{"GiB", 1 << 30},
	{"MiB", 1 << 20},
	{"KiB", 1 << 10},
	{"B", 1},
}

// Bytes is s as a number.
func (s Size) Bytes() int64 { return int64(s) }

// UnmarshalText reads the form that String writes.
func (s *Size) UnmarshalText(text []byte) error {
	in := string(text)
	number := strings.TrimRight(in, "BKMGTPibkmgtp")
	unit := in[len(number):]
	number = strings.TrimSuffix(number, " ")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || strings.HasPrefix(number, "+") {
		return fmt.Errorf("%q is not a size: write it as 64KiB, 32MiB or 4GiB", in)
	}
	for _, u := range sizeUnits {
		if unit != u.name {
			continue
		}
		if n > math.MaxInt64/u.bytes {
			return fmt.Errorf("%q is larger than 8 EiB", in)
		}
		*s = Size(n * u.bytes)
		return nil
	}
	switch {
	case unit == "":
		return fmt.Errorf("%q has no unit: write %sB for bytes, %sMiB for mebibytes", in, number, number)
	case len(unit) <= 3 && strings.ContainsAny(unit[:1], "kKmMgGtT"):
		return fmt.Errorf("%q has the unit %q: sizes are binary, write %s%siB", in, unit, number, strings.ToUpper(unit[:1]))
	default:
		return fmt.Errorf("%q has the unit %q: use B, KiB, MiB, GiB or TiB", in, unit)
	}
}

// String is s in the largest unit that gives a whole number.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

// MarshalText is String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
