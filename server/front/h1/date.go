package h1

import (
	"net/http"
	"sync/atomic"
	"time"
)

// A date is the value of the header Date, made once a second.
type date struct{ newest atomic.Pointer[stamp] }

type stamp struct {
	second int64
	text   string
}

func (d *date) append(out []byte, now time.Time) []byte {
	s := d.newest.Load()
	if s == nil || s.second != now.Unix() {
		s = &stamp{second: now.Unix(), text: now.UTC().Format(http.TimeFormat)}
		d.newest.Store(s)
	}
	return append(out, s.text...)
}
