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
	"github.com/culvert-tunnel/culvert/services/edge/internal/share"
)

// ErrPing says that the parameters of a ping are invalid, or that too many pings are in flight.
var ErrPing = errors.New("not a possible ping")

// The kinds of replies to a ping.
const (
	EchoReply    = "echo_reply"
	TimeExceeded = "time_exceeded"
	Unreachable  = "unreachable"
	OtherError   = "other"
)

const (
	// The source addresses of pings are never routed: 192.0.0.8 is the IPv4 dummy address, 100::1 is in the discard-only block.
	// The connector returns replies to this edge.
	pingSource4 = "192.0.0.8"
	pingSource6 = "100::1"

	defaultTTL  = 64
	defaultWait = 5 * time.Second
	// icmpHead4 and icmpHead6 are the sizes of the IP and ICMP headers together.
	icmpHead4, icmpHead6 = 28, 48
)

// PingRequest is one echo request. Zero values mean the defaults.
type PingRequest struct {
	Destination netip.Addr
	TTL         uint8
	// Size is the number of bytes after the ICMP header.
	Size    int
	Timeout time.Duration
}

// PingReply is the reply to a ping: of the destination, or an ICMP error of a router.
type PingReply struct {
	From netip.Addr
	// Kind is one of EchoReply, TimeExceeded, Unreachable, OtherError.
	Kind string
	// Type and Code are those of the ICMP message.
	Type, Code uint8
	// Size is the number of bytes of the echoed data.
	Size int
	RTT  time.Duration
}

// pingKey identifies a ping by the fields that its reply repeats.
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

// Ping sends one echo request through the tunnel and waits for the reply. Errors: ErrPing, ErrNoConnection, ErrSilent, or the
// cause of ctx.
func (fs *Flows) Ping(ctx context.Context, id tunnel.ID, r PingRequest) (PingReply, error) {
	packet, key, err := r.packet(id)
	if err != nil {
		return PingReply{}, err
	}
	p := fs.choosePeer(id)
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
	ctx, cancel := context.WithTimeoutCause(ctx, r.Timeout, fmt.Errorf("%w: no reply within %v", ErrSilent, r.Timeout))
	defer cancel()
	wait := &ping{dst: r.Destination.Unmap(), reply: make(chan PingReply, 1), sent: time.Now()}
	if err := fs.addPing(key, wait); err != nil {
		return PingReply{}, err
	}
	defer fs.removePing(key)
	p.send(b)
	select {
	case reply := <-wait.reply:
		return reply, nil
	case <-ctx.Done():
		return PingReply{}, context.Cause(ctx)
	}
}

// packet builds the echo request with a random id and sequence number.
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
	_, _ = rand.Read(data) // never fails: crypto/rand ends the process instead
	key := pingKey{tunnel: id, is6: dst.Is6(), id: binary.BigEndian.Uint16(data), seq: binary.BigEndian.Uint16(data[2:])}
	e := icmp.Echo{ID: key.id, Seq: key.seq, Data: data[4:]}
	b, err := e.Append(nil, src, dst, ttl, icmp.Request)
	if err != nil {
		return nil, pingKey{}, fmt.Errorf("%w: %w", ErrPing, err)
	}
	return b, key, nil
}

// wrap makes a datagram of the connection's version from an IP packet.
func (p *peer) wrap(packet []byte) ([]byte, error) {
	if p.v3 {
		return datagram.AppendICMP(nil, packet)
	}
	return (&datagram.V2{Type: datagram.V2IP, Data: packet}).Append(nil)
}

// choosePeer returns the best connection of a tunnel, or nil.
func (fs *Flows) choosePeer(id tunnel.ID) *peer {
	p, _ := fs.choose(id, tunnel.ConnectorID{}, nil)
	return p
}

// addPing registers a ping that waits for its reply, unless too many wait.
func (fs *Flows) addPing(key pingKey, p *ping) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if _, taken := fs.pings[key]; taken {
		return fmt.Errorf("%w: its random id is in use", ErrPing)
	}
	switch fs.pingQuota.Take(key.tunnel, 1) {
	case share.Granted:
	case share.OverShare:
		return fmt.Errorf("%w: too many pings of this tunnel are in flight", ErrPing)
	case share.Full:
		return fmt.Errorf("%w: too many pings are in flight", ErrPing)
	}
	fs.pings[key] = p
	return nil
}

func (fs *Flows) removePing(key pingKey) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.pings, key)
	fs.pingQuota.Give(key.tunnel, 1)
}

// echoed passes an ICMP packet of a connector to the ping that it replies to.
func (fs *Flows) echoed(p *peer, b []byte) {
	packet, err := icmp.Parse(b)
	if err != nil {
		fs.metrics.drop(dropMalformed)
		return
	}
	about, kind := packet, EchoReply
	if packet.IsError() {
		if about, err = packet.Quote(); err != nil {
			fs.metrics.drop(dropMalformed)
			return
		}
		kind = faultKind(&packet)
	}
	echo, err := about.Echo()
	if err != nil || kind == EchoReply && !packet.IsEchoReply() {
		fs.metrics.drop(dropUnexpected)
		return
	}
	key := pingKey{tunnel: p.conn.Slot.Tunnel, is6: packet.Is6(), id: echo.ID, seq: echo.Seq}
	fs.mu.Lock()
	wait := fs.pings[key]
	fs.mu.Unlock()
	if wait == nil || kind != EchoReply && about.Dst != wait.dst {
		fs.metrics.drop(dropUnknownFlow)
		return
	}
	reply := PingReply{From: packet.Src, Kind: kind, Type: packet.Type, Code: packet.Code, RTT: time.Since(wait.sent)}
	if kind == EchoReply {
		reply.Size = len(echo.Data)
	}
	select {
	case wait.reply <- reply:
	default: // a second reply
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
