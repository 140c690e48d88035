package quic

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/culvert-tunnel/culvert/pkg/transport/quic/internal/silence"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

var errPortClosed = errors.New("the port of the edge is closed, and nothing arrives from it")

// probePort sends one packet to the port of an edge from a socket of its own and waits for what comes back, or for the end of ctx. The
// socket of a session learns nothing of a closed port: it is not connected, so the system does not report ICMP messages to it, and it
// must not, since the library takes every error of its socket for the end of the session, and anybody can send such a message.
func probePort(ctx context.Context, edge netip.AddrPort, local netip.Addr) silence.Port {
	var from *net.UDPAddr
	if local.IsValid() && !local.IsUnspecified() {
		from = net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	c, err := net.DialUDP("udp", from, net.UDPAddrFromAddrPort(edge))
	if err != nil {
		return silence.Silent // no descriptor, or no route: it says nothing about the port
	}
	defer func() { _ = c.Close() }()                            // nothing is left to send
	unwatch := context.AfterFunc(ctx, func() { _ = c.Close() }) // wakes the read
	defer unwatch()
	if err = c.SetDeadline(time.Now().Add(silence.ReplyTime)); err == nil {
		_, err = c.Write(versionProbe())
	}
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	switch {
	case err == nil:
		return silence.Open
	case errors.Is(err, syscall.ECONNREFUSED):
		return silence.Closed
	default:
		return silence.Silent
	}
}

// versionProbe makes the first packet of a connection with a version that is reserved for such tests, to which a QUIC server responds
// with the versions that it speaks, without keeping state (RFC 9000 6).
func versionProbe() []byte {
	b := make([]byte, minInitial)
	_, _ = rand.Read(b)                                 // never fails
	b[0] |= 0xc0                                        // long header
	b[1], b[2], b[3], b[4] = 0x1a, 0x2a, 0x3a, 0x4a     // RFC 9000 15
	b[5], b[5+1+probeIDSize] = probeIDSize, probeIDSize // both connection ids
	return b
}

const (
	// minInitial is the least size of a packet that a server responds to (RFC 9000 14.1).
	minInitial  = 1200
	probeIDSize = 8
)

// portWatch ends a session whose edge has closed its port.
type portWatch struct {
	// The timer's function alone uses these.
	machine *silence.Machine
	last    time.Time
	edge    netip.AddrPort
	local   netip.Addr

	mu     sync.Mutex
	timer  *time.Timer // nil before start and after end
	closed bool
}

func (p *portWatch) start(conn *quicgo.Conn) {
	p.edge, p.local = addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr()).Addr()
	p.machine, p.last = silence.New(seenOf(conn)), time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(untilNext(p.last, p.machine.Next()), func() { p.check(conn) })
}

// untilNext is the time to the next multiple of a period, so that the checks of all sessions of a process wake it together.
func untilNext(now time.Time, period time.Duration) time.Duration {
	return period - time.Duration(now.UnixNano())%period
}

// check runs when the machine says, and later while a probe waits for its reply.
func (p *portWatch) check(conn *quicgo.Conn) {
	a := p.machine.Check(p.elapsed(), seenOf(conn))
	for a == silence.Ask && conn.Context().Err() == nil {
		port := probePort(conn.Context(), p.edge, p.local)
		a = p.machine.Check(p.elapsed(), seenOf(conn))
		if a != silence.End {
			a = p.machine.Reply(port, seenOf(conn))
		}
	}
	p.mu.Lock()
	over := p.timer == nil || conn.Context().Err() != nil // by someone else
	if !over && a == silence.End {
		p.closed = true
	} else if !over {
		p.timer.Reset(untilNext(p.last, p.machine.Next()))
	}
	p.mu.Unlock()
	if !over && a == silence.End {
		_ = conn.CloseWithError(0, "") // fails only when the session has ended
	}
}

func (p *portWatch) elapsed() time.Duration {
	now := time.Now()
	defer func() { p.last = now }()
	return now.Sub(p.last)
}

func seenOf(conn *quicgo.Conn) silence.Seen {
	st := conn.ConnectionStats()
	return silence.Seen{Sent: st.PacketsSent, Received: st.PacketsReceived, RTT: st.SmoothedRTT}
}

func (p *portWatch) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// cause gives the reason of a session's end: the closed port, or err.
func (p *portWatch) cause(err *tunnel.ConnError) *tunnel.ConnError {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return &tunnel.ConnError{Reason: tunnel.ReasonClosed, Err: errPortClosed}
	}
	return err
}

const (
	// shakeTime is how long a handshake may take before the port is probed.
	shakeTime = 150 * time.Millisecond
	// refusals is how many probes in a row have to find the port closed until a dial is given up.
	refusals = 2
)

// whileOpen returns a context for a handshake that ends when the port is closed. unwatch ends the watch and waits for it.
func whileOpen(ctx context.Context, c DialConfig) (dial context.Context, unwatch func()) {
	dial, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		pause := time.NewTimer(shakeTime)
		defer pause.Stop()
		for closed := 0; closed < refusals; {
			select {
			case <-dial.Done():
				return
			case <-pause.C:
			}
			pause.Reset(shakeTime)
			switch probePort(dial, c.Edge, c.LocalIP) {
			case silence.Closed:
				closed++
			case silence.Open:
				return
			case silence.Silent:
				closed = 0
			}
		}
		cancel(errPortClosed)
	})
	return dial, func() { cancel(nil); watch.Wait() }
}
