package testkit

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// relayPoll is how often a relay that is silent looks whether it still is.
const relayPoll = 5 * time.Millisecond

// Relay passes UDP datagrams and TCP connections on to an address, on one port. While it is silent nothing passes in either direction,
// and no end learns of it: datagrams are lost, bytes of connections wait.
type Relay struct {
	// Addr is where the relay listens.
	Addr   netip.AddrPort
	to     netip.AddrPort
	silent atomic.Bool
	runs   sync.WaitGroup

	mu     sync.Mutex
	open   []interface{ Close() error }
	closed bool
}

// NewRelay starts a relay, which ends with the test.
func NewRelay(t testing.TB, to netip.AddrPort) *Relay {
	t.Helper()
	r := &Relay{Addr: FreeTCPAndUDP(t), to: to}
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(r.Addr))
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(r.Addr))
	if err != nil {
		_ = tcp.Close()
		t.Fatal(err)
	}
	r.keep(tcp)
	r.keep(udp)
	r.runs.Go(func() { r.accept(tcp) })
	r.runs.Go(func() { r.datagrams(udp) })
	t.Cleanup(r.Close)
	return r
}

// Silence makes the relay silent, or ends that.
func (r *Relay) Silence(on bool) { r.silent.Store(on) }

// Close ends the relay and its connections. Idempotent.
func (r *Relay) Close() {
	r.mu.Lock()
	r.closed = true
	for _, c := range r.open {
		_ = c.Close() // wakes its goroutine
	}
	r.open = nil
	r.mu.Unlock()
	r.runs.Wait()
}

// keep remembers a socket for Close. It reports false, and closes it, when the relay is closed.
func (r *Relay) keep(c interface{ Close() error }) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		_ = c.Close() // nobody uses it
		return false
	}
	r.open = append(r.open, c)
	return true
}

func (r *Relay) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

func (r *Relay) accept(l *net.TCPListener) {
	for {
		near, err := l.AcceptTCP()
		if err != nil {
			return
		}
		far, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(r.to))
		if err != nil || !r.keep(near) || !r.keep(far) {
			_ = near.Close() // the dialler sees it
			continue
		}
		r.runs.Go(func() { r.copy(near, far) })
		r.runs.Go(func() { r.copy(far, near) })
	}
}

func (r *Relay) copy(from, to *net.TCPConn) {
	defer func() { _ = to.Close() }() // the other direction ends as well
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		for r.silent.Load() && !r.over() {
			<-time.After(relayPoll)
		}
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (r *Relay) datagrams(near *net.UDPConn) {
	upstream := make(map[netip.AddrPort]*net.UDPConn)
	buf := make([]byte, 64<<10)
	for {
		n, from, err := near.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		far := upstream[from]
		if far == nil {
			if far, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(r.to)); err != nil || !r.keep(far) {
				continue
			}
			upstream[from] = far
			r.runs.Go(func() { r.replies(near, far, from) })
		}
		if !r.silent.Load() {
			_, _ = far.Write(buf[:n]) // datagrams may be lost
		}
	}
}

// replies passes datagrams back until the relay is closed. An error of one datagram, such as a closed port, ends nothing.
func (r *Relay) replies(near, far *net.UDPConn, to netip.AddrPort) {
	buf := make([]byte, 64<<10)
	for !r.over() {
		n, err := far.Read(buf)
		if err == nil && !r.silent.Load() {
			_, _ = near.WriteToUDPAddrPort(buf[:n], to) // datagrams may be lost
		}
	}
}
