package udp

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/pkg/wire/icmp"
)

// ErrPing says that a ping cannot be made as it was asked for.
var ErrPing = errors.New("not a possible ping")

// The kinds of answers to a ping.
const (
	EchoReply    = "echo_reply"
	TimeExceeded = "time_exceeded"
	Unreachable  = "unreachable"
	OtherError   = "other"
)

const (
	// Pings come from addresses that no network routes, since nobody but this edge gets the answers: 192.0.0.8 is the
	// IPv4 dummy address, 100::1 is in the discard-only block.
	pingSource4 = "192.0.0.8"
	pingSource6 = "100::1"

	defaultTTL  = 64
	defaultWait = 5 * time.Second
	maxPings    = 1024
	// icmpHead is the room that both headers take of the largest packet.
	icmpHead4, icmpHead6 = 28, 48
)

// PingRequest is one echo request. Zero values mean the defaults.
type PingRequest struct {
	Destination netip.Addr
	TTL         uint8
	// Size is the number of bytes behind the ICMP header.
	Size    int
	Timeout time.Duration
}

// PingReply is what came back.
type PingReply struct {
	From netip.Addr
	// Kind is one of EchoReply, TimeExceeded, Unreachable, OtherError.
	Kind string
	// Type and Code are those of the ICMP message.
	Type, Code uint8
	// Size is that of the echoed data.
	Size int
	RTT  time.Duration
}

// pingKey names a ping by what its answer quotes.
type pingKey struct {
	tunnel  tunnel.ID
	is6     bool
	id, seq uint16
}

type ping struct {
	dst   netip.Addr
	reply chan PingReply
	sent  time.Time
}

// Ping sends one echo request through the tunnel and waits for what comes back.
func (m *Manager) Ping(ctx context.Context, id tunnel.ID, r PingRequest) (PingReply, error) {
	packet, key, err := r.packet(id)
	if err != nil {
		return PingReply{}, err
	}
	p := m.choosePeer(id)
	if p == nil {
		return PingReply{}, ErrNoConnection
	}
	b, err := p.wrap(packet)
	if err != nil {
		return PingReply{}, fmt.Errorf("%w: %w", ErrPing, err)
	}
	if r.Timeout <= 0 {
		r.Timeout = defaultWait
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.Timeout, fmt.Errorf("%w: nothing came back within %v", ErrSilent, r.Timeout))
	defer cancel()
	wait := &ping{dst: r.Destination.Unmap(), reply: make(chan PingReply, 1), sent: time.Now()}
	if !m.addPing(key, wait) {
		return PingReply{}, fmt.Errorf("%w: too many pings at once", ErrPing)
	}
	defer m.removePing(key)
	p.send(b)
	select {
	case reply := <-wait.reply:
		return reply, nil
	case <-ctx.Done():
		return PingReply{}, context.Cause(ctx)
	}
}

// packet builds the request under a random id.
func (r PingRequest) packet(id tunnel.ID) ([]byte, pingKey, error) {
	dst := r.Destination.Unmap().WithZone("")
	src, head := netip.MustParseAddr(pingSource4), icmpHead4
	if dst.Is6() {
		src, head = netip.MustParseAddr(pingSource6), icmpHead6
	}
	switch most := datagram.V3MaxICMP - head; {
	case !dst.IsValid() || dst.IsUnspecified():
		return nil, pingKey{}, fmt.Errorf("%w: destination %v", ErrPing, r.Destination)
	case r.Size < 0 || r.Size > most:
		return nil, pingKey{}, fmt.Errorf("%w: size %d is not between 0 and %d", ErrPing, r.Size, most)
	}
	ttl := r.TTL
	if ttl == 0 {
		ttl = defaultTTL
	}
	data := make([]byte, 4+r.Size)
	_, _ = rand.Read(data) // it ends the process rather than fail
	key := pingKey{tunnel: id, is6: dst.Is6(), id: binary.BigEndian.Uint16(data), seq: binary.BigEndian.Uint16(data[2:])}
	e := icmp.Echo{ID: key.id, Seq: key.seq, Data: data[4:]}
	b, err := e.Append(nil, src, dst, ttl, icmp.Request)
	if err != nil {
		return nil, pingKey{}, fmt.Errorf("%w: %w", ErrPing, err)
	}
	return b, key, nil
}

// wrap puts a packet into a datagram of the connection's version.
func (p *peer) wrap(packet []byte) ([]byte, error) {
	if p.v3 {
		return datagram.AppendICMP(nil, packet)
	}
	return (&datagram.V2{Type: datagram.V2IP, Data: packet}).Append(nil)
}

// choosePeer gives the best connection of a tunnel.
func (m *Manager) choosePeer(id tunnel.ID) *peer {
	p, _ := m.choose(id, tunnel.ConnectorID{}, nil)
	return p
}

func (m *Manager) addPing(key pingKey, p *ping) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.pings[key]; taken || len(m.pings) >= maxPings {
		return false
	}
	m.pings[key] = p
	return true
}

func (m *Manager) removePing(key pingKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.pings, key)
}

// echoed gives a packet of a connector to the ping that it answers.
func (m *Manager) echoed(p *peer, b []byte) {
	packet, err := icmp.Parse(b)
	if err != nil {
		m.metrics.drop(dropMalformed)
		return
	}
	about, kind := packet, EchoReply
	if packet.IsError() {
		if about, err = packet.Quote(); err != nil {
			m.metrics.drop(dropMalformed)
			return
		}
		kind = faultKind(&packet)
	}
	echo, err := about.Echo()
	if err != nil || kind == EchoReply && !packet.IsEchoReply() {
		m.metrics.drop(dropUnexpected)
		return
	}
	key := pingKey{tunnel: p.conn.Slot.Tunnel, is6: packet.Is6(), id: echo.ID, seq: echo.Seq}
	m.mu.Lock()
	wait := m.pings[key]
	m.mu.Unlock()
	if wait == nil || kind != EchoReply && about.Dst != wait.dst {
		m.metrics.drop(dropUnknownFlow)
		return
	}
	reply := PingReply{From: packet.Src, Kind: kind, Type: packet.Type, Code: packet.Code, RTT: time.Since(wait.sent)}
	if kind == EchoReply {
		reply.Size = len(echo.Data)
	}
	select {
	case wait.reply <- reply:
	default: // a second answer
	}
}

func faultKind(p *icmp.Packet) string {
	switch {
	case p.Is6() && p.Type == icmp.TimeExceeded6, !p.Is6() && p.Type == icmp.TimeExceeded4:
		return TimeExceeded
	case p.Is6() && p.Type == icmp.Unreachable6, !p.Is6() && p.Type == icmp.Unreachable4:
		return Unreachable
	default:
		return OtherError
	}
}
