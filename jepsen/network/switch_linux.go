package network

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Switch is a Network of namespaces: each node has one TUN device, and so has
// this process, which must run in a namespace of its own ([Isolate]).
type Switch struct {
	weather *Weather
	wg      sync.WaitGroup

	mu    sync.Mutex
	ports map[netip.Addr]*port
	names map[string]*port
}

// A port is one end of the cable.
type port struct {
	name  string
	addr  netip.Addr
	space int // file descriptor of its namespace; -1: that of this process
	tun   *os.File
}

// The network of the nodes: the last byte is the place of a node, 254 the harness.
const (
	subnet    = "10.77.0."
	maxPacket = 9000
)

// NewSwitch makes the port of the harness. The caller's process must be isolated.
func NewSwitch(seed uint64) (Network, error) {
	s := &Switch{weather: NewWeather(seed), ports: make(map[netip.Addr]*port), names: make(map[string]*port)}
	tun, err := openTun(subnet + "254")
	if err != nil {
		return nil, err
	}
	s.add(&port{name: Client, addr: netip.MustParseAddr(subnet + "254"), space: -1, tun: tun})
	return s, nil
}

func (s *Switch) Name() string            { return "switch" }
func (s *Switch) Packets() bool           { return true }
func (s *Switch) Weather() *Weather       { return s.weather }
func (s *Switch) Started(_ string, _ int) {}

func (s *Switch) Listen(ctx context.Context) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", subnet+"254:0")
}

// Join makes a namespace for a node.
func (s *Switch) Join(node string) (Address, error) {
	s.mu.Lock()
	ip := fmt.Sprint(subnet, len(s.ports))
	s.mu.Unlock()
	p := &port{name: node, addr: netip.MustParseAddr(ip)}
	made := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with this goroutine, the namespace does not
		made <- p.make(ip)
	}()
	if err := <-made; err != nil {
		return Address{}, fmt.Errorf("network namespace of %s: %w", node, err)
	}
	s.add(p)
	a := Address{MCP: ip + ":7440", Admin: ip + ":7441", Peer: ip + ":7442"}
	a.Advertise = a.Peer
	return a, nil
}

// make is called on a thread of its own.
func (p *port) make(ip string) (err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	if p.space, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	p.tun, err = openTun(ip)
	return err
}

// openTun makes a device with an address in the namespace of this thread and brings
// it and loopback up.
func openTun(ip string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	control, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	defer unix.Close(control)
	device, err := unix.NewIfreq("mesh0")
	if err != nil {
		return nil, err
	}
	device.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	steps := []func() error{
		func() error { return unix.IoctlIfreq(fd, unix.TUNSETIFF, device) },
		func() error {
			return set(control, "mesh0", unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(maxPacket); return nil })
		},
		func() error { return set(control, "mesh0", unix.SIOCSIFADDR, address(ip)) },
		func() error { return set(control, "mesh0", unix.SIOCSIFNETMASK, address("255.255.255.0")) },
		func() error { return set(control, "mesh0", unix.SIOCSIFFLAGS, up) },
		func() error { return set(control, "lo", unix.SIOCSIFFLAGS, up) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, errors.Join(fmt.Errorf("TUN device: %w", err), unix.Close(fd))
		}
	}
	return os.NewFile(uintptr(fd), "tun "+ip), nil
}

func set(control int, device string, what uint, fill func(*unix.Ifreq) error) error {
	r, err := unix.NewIfreq(device)
	if err == nil {
		err = fill(r)
	}
	if err != nil {
		return err
	}
	return unix.IoctlIfreq(control, what, r)
}

func address(ip string) func(*unix.Ifreq) error {
	return func(r *unix.Ifreq) error { return r.SetInet4Addr(net.ParseIP(ip).To4()) }
}

func up(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }

func (s *Switch) add(p *port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports[p.addr], s.names[p.name] = p, p
	s.wg.Go(func() { s.read(p) })
}

// read forwards what a port sends, until it is closed.
func (s *Switch) read(p *port) {
	buf := make([]byte, maxPacket+64)
	for {
		n, err := p.tun.Read(buf)
		if err != nil {
			return
		}
		if packet := buf[:n]; n >= 20 && packet[0]>>4 == 4 {
			s.forward(p, packet)
		}
	}
}

// forward sends a packet on its way, or does not. A packet that cannot be written
// is lost, as on a wire.
func (s *Switch) forward(from *port, packet []byte) {
	dst := netip.AddrFrom4([4]byte(packet[16:20]))
	s.mu.Lock()
	to := s.ports[dst]
	s.mu.Unlock()
	if to == nil {
		return
	}
	f := s.weather.decide(Link{from.name, to.name})
	if f.reset {
		s.refuse(from, packet)
	}
	if f.lost {
		return
	}
	for range f.copies {
		if f.delay == 0 {
			_, _ = to.tun.Write(packet)
			continue
		}
		later := append([]byte(nil), packet...)
		time.AfterFunc(f.delay, func() { _, _ = to.tun.Write(later) })
	}
}

// refuse answers a TCP packet with a reset, as a firewall that rejects does.
func (s *Switch) refuse(to *port, packet []byte) {
	head := int(packet[0]&15) * 4
	if packet[9] != unix.IPPROTO_TCP || len(packet) < head+20 {
		return
	}
	tcp := packet[head:]
	if tcp[13]&4 != 0 {
		return // never answer a reset by a reset
	}
	length := uint32(len(tcp) - int(tcp[12]>>4)*4)
	if tcp[13]&2 != 0 || tcp[13]&1 != 0 { // SYN and FIN count as one byte
		length++
	}
	reply := make([]byte, 40)
	reply[0], reply[8], reply[9] = 0x45, 64, unix.IPPROTO_TCP
	binary.BigEndian.PutUint16(reply[2:], 40)
	copy(reply[12:16], packet[16:20])
	copy(reply[16:20], packet[12:16])
	binary.BigEndian.PutUint16(reply[10:], checksum(reply[:20], 0))
	copy(reply[20:22], tcp[2:4])
	copy(reply[22:24], tcp[0:2])
	copy(reply[24:28], tcp[8:12]) // what it has seen of us
	binary.BigEndian.PutUint32(reply[28:], binary.BigEndian.Uint32(tcp[4:8])+length)
	reply[32], reply[33] = 5<<4, 4|16 // reset, acknowledge
	pseudo := uint32(unix.IPPROTO_TCP) + 20
	for i := 12; i < 20; i += 2 {
		pseudo += uint32(binary.BigEndian.Uint16(reply[i:]))
	}
	binary.BigEndian.PutUint16(reply[36:], checksum(reply[20:], pseudo))
	_, _ = to.tun.Write(reply)
}

// checksum is that of RFC 1071.
func checksum(b []byte, sum uint32) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// Start runs start in the namespace of a node.
func (s *Switch) Start(node string, start func() error) error {
	s.mu.Lock()
	p := s.names[node]
	s.mu.Unlock()
	if p == nil {
		return fmt.Errorf("no node %s has joined", node)
	}
	// The thread is the caller's, which has locked it and ends with it.
	if err := unix.Setns(p.space, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("network namespace of %s: %w", node, err)
	}
	return start()
}

// Close ends the devices.
func (s *Switch) Close() error {
	s.mu.Lock()
	var errs []error
	for _, p := range s.ports {
		errs = append(errs, p.tun.Close())
		if p.space >= 0 {
			errs = append(errs, unix.Close(p.space))
		}
	}
	s.mu.Unlock()
	s.wg.Wait()
	return errors.Join(errs...)
}
