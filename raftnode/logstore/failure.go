package logstore

import "sync/atomic"

// failure latches the first error of the store. It is shared by all layers.
type failure struct {
	first   atomic.Pointer[error]
	tripped chan struct{} // closed when first is set
	fatal   func(error)
}

func newFailure(fatal func(error)) *failure {
	return &failure{tripped: make(chan struct{}), fatal: fatal}
}

// get is the first error, or nil.
func (f *failure) get() error {
	if err := f.first.Load(); err != nil {
		return *err
	}
	return nil
}

// trip makes err the failure unless there is one already, tells fatal once, and
// returns the failure.
func (f *failure) trip(err error) error {
	if f.first.CompareAndSwap(nil, &err) {
		close(f.tripped)
		f.fatal(err)
	}
	return f.get()
}
