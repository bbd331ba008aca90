package network

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// pairOfNodes are two nodes behind proxies, both this process: n1 dials, n2 echoes.
func pairOfNodes(t *testing.T) (*Proxies, net.Conn) {
	t.Helper()
	p := NewProxies(1)
	a, err := p.Join("n2")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", a.Peer)
	if err != nil {
		t.Fatal(err)
	}
	p.Started("n1", os.Getpid())
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(nc, nc); nc.Close() }()
		}
	}()
	nc, err := net.Dial("tcp", a.Advertise)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		nc.Close()
		l.Close()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, nc
}

func echo(nc net.Conn, within time.Duration) error {
	if _, err := nc.Write([]byte("x")); err != nil {
		return err
	}
	if err := nc.SetReadDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	_, err := io.ReadFull(nc, make([]byte, 1))
	return err
}

const patience = 10 * time.Second

func TestACutInOneDirectionHoldsUntilItIsLifted(t *testing.T) {
	for _, broken := range []Link{{"n1", "n2"}, {"n2", "n1"}} {
		p, nc := pairOfNodes(t)
		if err := echo(nc, patience); err != nil {
			t.Fatal(err)
		}
		other := p.Weather().Impose(Condition{Cut: true}, []Link{{"n3", "n2"}})
		if err := echo(nc, patience); err != nil {
			t.Errorf("cut of another link: %v", err)
		}
		cut := p.Weather().Impose(Condition{Cut: true}, []Link{broken})
		if err := echo(nc, 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v is cut, and the answer is %v", broken, err)
		}
		if cut.Hits() == 0 || other.Hits() != 0 {
			t.Errorf("%d hits of the cut, %d of the other", cut.Hits(), other.Hits())
		}
		cut.Lift()
		if err := nc.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(nc, make([]byte, 1)); err != nil {
			t.Errorf("what was held back does not come: %v", err)
		}
	}
}

func TestAResetEndsWhatIsOpen(t *testing.T) {
	p, nc := pairOfNodes(t)
	if err := echo(nc, patience); err != nil {
		t.Fatal(err)
	}
	p.Weather().Impose(Condition{Reset: true}, Both([]string{"n1"}, []string{"n2"}))
	if err := echo(nc, patience); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after a reset: %v", err)
	}
}

func TestADelayTakesItsTime(t *testing.T) {
	p, nc := pairOfNodes(t)
	if err := echo(nc, patience); err != nil {
		t.Fatal(err)
	}
	p.Weather().Impose(Condition{Delay: 30 * time.Millisecond}, Both([]string{"n1"}, []string{"n2"}))
	began := time.Now()
	if err := echo(nc, patience); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 60*time.Millisecond {
		t.Errorf("there and back took %v, at least 60 ms were asked for", took)
	}
}
