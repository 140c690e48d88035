package ports

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog"
)

const (
	// maxPacket is room for every datagram; those too large for the path are dropped later.
	maxPacket = 64 << 10
	// waiting is how many datagrams of a visitor are kept while its association opens.
	waiting = 16
)

// Association carries the datagrams of one visitor to one destination. After any error of Send but ErrDatagramTooLarge it has
// ended.
type Association interface {
	Send(b []byte) error
	Close()
}

// udpPort is one bound UDP port.
type udpPort struct {
	*shared
	port catalog.Port
	udp  *net.UDPConn
	// anyAddress says that the socket is on every address, so that each packet states which one it came to.
	anyAddress bool

	mu       sync.Mutex // guards the fields below
	visitors sources
	closed   bool
	work     sync.WaitGroup // of the visitors' goroutines
}

var _ Listener = (*udpPort)(nil)

// visitorKey identifies a visitor: one that sends to two addresses of this host expects replies from both.
type visitorKey struct {
	from  netip.AddrPort
	local netip.Addr
}

func listenUDP(ctx context.Context, s *shared, where string, p catalog.Port) (Listener, error) {
	var lc net.ListenConfig
	c, err := lc.ListenPacket(ctx, network("udp", where), where)
	if err != nil {
		return nil, err
	}
	udp, ok := c.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(errors.ErrUnsupported, c.Close())
	}
	u := &udpPort{shared: s, port: p, udp: udp, visitors: newSources(s.cfg.MaxAssociations, s.cfg.associationsPerAddress())}
	if u.anyAddress = u.Addr().Addr().IsUnspecified(); u.anyAddress {
		if err := enableLocalAddress(udp); err != nil {
			return nil, errors.Join(err, udp.Close())
		}
	}
	return u, nil
}

// Addr is the bound address.
func (u *udpPort) Addr() netip.AddrPort {
	a, ok := u.udp.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// Close frees the port.
func (u *udpPort) Close() error {
	if err := u.udp.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Serve reads datagrams until accept ends, which ends all associations: without the port there are no replies.
func (u *udpPort) Serve(accept, _ context.Context) {
	unhook := context.AfterFunc(accept, func() { _ = u.Close() }) // wakes the loop
	defer unhook()
	defer u.work.Wait()
	defer u.closeAll()
	buf, control := make([]byte, maxPacket), make([]byte, controlSize)
	backoff := minBackoff
	for {
		n, cn, _, from, err := u.udp.ReadMsgUDPAddrPort(buf, control)
		if accept.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			if !u.backOff(accept, u.port, err, backoff) {
				return
			}
			backoff = min(2*backoff, maxBackoff)
			continue
		}
		backoff = minBackoff
		key, ifIndex := visitorKey{from: netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}, 0
		if u.anyAddress {
			key.local, ifIndex = localAddress(control[:cn])
		}
		u.take(accept, key, ifIndex, buf[:n])
	}
}

// take passes a datagram to its visitor's association, and opens one if there is none.
func (u *udpPort) take(ctx context.Context, key visitorKey, ifIndex int, b []byte) {
	u.metrics.packetsIn.Inc()
	u.mu.Lock()
	v := u.visitors.byKey[key]
	if v == nil {
		if old, why := u.visitors.evict(key); old != nil {
			u.dropLocked(old)
			u.metrics.drops[why].Inc()
		}
		v = newPacketVisitor(u, key, ifIndex)
		u.visitors.add(v)
		u.metrics.associations.Inc()
		u.work.Go(func() { v.open(ctx) })
	} else {
		u.visitors.touch(v)
	}
	u.mu.Unlock()
	v.idle.touch()
	v.send(b)
}

// dropLocked removes a visitor; u.mu is held. Another goroutine closes its association, since that may take a while.
func (u *udpPort) dropLocked(v *packetVisitor) {
	if !u.visitors.remove(v) {
		return
	}
	u.metrics.associations.Dec()
	u.work.Go(v.close)
}

func (u *udpPort) drop(v *packetVisitor) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closed {
		u.dropLocked(v)
	}
}

func (u *udpPort) closeAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, v := range u.visitors.byKey {
		u.dropLocked(v)
	}
	u.closed = true
}

// packetVisitor is one source of datagrams.
type packetVisitor struct {
	*udpPort
	key    visitorKey
	source []byte // the control message of replies
	idle   idleTimer
	// place and ownPlace belong to sources.
	place, ownPlace *list.Element

	mu     sync.Mutex // guards the fields below
	queue  [][]byte   // datagrams that came while the association opens
	to     Association
	ended  bool
	cancel context.CancelFunc
}

func newPacketVisitor(u *udpPort, key visitorKey, ifIndex int) *packetVisitor {
	return &packetVisitor{udpPort: u, key: key, source: replyFrom(key.local, ifIndex)}
}

// open opens the association and sends the queued datagrams.
func (v *packetVisitor) open(ctx context.Context) {
	idle := v.port.Target.Idle
	if idle == 0 {
		idle = v.cfg.UDPIdleTimeout
	}
	limited, cancel := context.WithTimeout(ctx, v.cfg.ConnectTimeout)
	defer cancel()
	v.mu.Lock()
	v.cancel = cancel
	ended := v.ended
	v.mu.Unlock()
	if ended {
		return
	}
	to, err := v.deps.Associate(limited, v.port.Tunnel, v.port.Target.To, idle, v.reply)
	if err != nil {
		v.failed(ctx, err)
		return
	}
	v.mu.Lock()
	v.to = to
	queue := v.queue
	v.queue, ended = nil, v.ended
	if !ended {
		for _, b := range queue { // in order: later ones wait for the lock
			v.sendLocked(b)
		}
	}
	v.mu.Unlock()
	if ended {
		to.Close()
		return
	}
	v.idle.set(idle, func() { v.drop(v) })
}

func (v *packetVisitor) failed(ctx context.Context, err error) {
	v.mu.Lock()
	lost := len(v.queue)
	v.ended, v.queue = true, nil
	v.mu.Unlock()
	v.drop(v)
	v.metrics.drops[dropNotOpen].Add(float64(lost))
	level := slog.LevelDebug
	if ctx.Err() == nil && v.warnings.Allow() {
		level = slog.LevelWarn
	}
	v.deps.Logger.LogAttrs(ctx, level, "port association not opened", slog.String(logkey.Port, v.port.Name()), slog.Any(logkey.Err, err))
}

// send passes a datagram on, or queues it until the association is open.
func (v *packetVisitor) send(b []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.ended: // and not yet removed from the map
		v.metrics.drops[dropEnded].Inc()
	case v.to != nil:
		v.sendLocked(b)
	case len(v.queue) < waiting:
		v.queue = append(v.queue, append([]byte(nil), b...))
	default:
		v.metrics.drops[dropQueue].Inc()
	}
}

// sendLocked passes a datagram on; v.mu is held. After an association has ended the next datagram opens another one.
func (v *packetVisitor) sendLocked(b []byte) {
	err := v.to.Send(b)
	switch {
	case err == nil:
	case errors.Is(err, transport.ErrDatagramTooLarge):
		v.metrics.drops[dropTooLarge].Inc()
	default:
		v.metrics.drops[dropEnded].Inc()
		v.work.Go(func() { v.drop(v) })
	}
}

// reply sends a datagram to the visitor, from the address that it sent to.
func (v *packetVisitor) reply(b []byte) {
	v.idle.touch()
	if _, _, err := v.udp.WriteMsgUDPAddrPort(b, v.source, v.key.from); err != nil {
		v.metrics.drops[dropUnreachable].Inc()
		return
	}
	v.metrics.packetsOut.Inc()
}

// close ends the association.
func (v *packetVisitor) close() {
	v.idle.stop()
	v.mu.Lock()
	lost := len(v.queue)
	v.ended, v.queue = true, nil
	to, cancel := v.to, v.cancel
	v.mu.Unlock()
	v.metrics.drops[dropNotOpen].Add(float64(lost))
	if cancel != nil {
		cancel()
	}
	if to != nil {
		to.Close()
	}
}
