package udp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

const (
	// tries is how often a registration of version 3 is sent; the wait for its response starts with firstWait and doubles.
	tries     = 3
	firstWait = 500 * time.Millisecond
	// headRoom is at least the number of bytes that a datagram of either version adds to a payload.
	headRoom = 24
)

// peer is a connection that flows use.
type peer struct {
	owner *Flows
	conn  *registry.Conn
	v3    bool
	// pulse is nil if the transport does not count received packets; received is its last count.
	pulse    transport.Pulse
	received atomic.Uint64
	// heard is the time of the peer's last sign of life, unansweredSince the time of the first datagram that was sent after that
	// (0: none), in nanoseconds.
	heard, unansweredSince atomic.Int64
	probed                 atomic.Int64
	suspect                atomic.Bool
	out                    *outbox

	// number counts the payloads that were sent as fragments.
	number atomic.Uint32
	// incomplete are the payloads of which fragments have come; it belongs to Serve.
	incomplete datagram.Reassembler

	// flows is protected by the mu of owner.
	flows map[*Flow]struct{}

	// mu protects responses: the channels of registrations of version 3 that wait for their response.
	mu        sync.Mutex
	responses map[datagram.ID]chan datagram.Response
}

// markAlive records a sign of life.
func (p *peer) markAlive(now int64) {
	p.heard.Store(now)
	p.unansweredSince.Store(0)
	p.suspect.Store(false)
}

// lastHeard is the time of the peer's last sign of life, including the packets that the transport has received.
func (p *peer) lastHeard(now int64) int64 {
	if p.pulse != nil {
		if n := p.pulse.Received(); p.received.Swap(n) != n {
			p.markAlive(now)
			return now
		}
	}
	return p.heard.Load()
}

func (p *peer) isOver() bool { return p.conn.Session.Context().Err() != nil }

func (p *peer) isRetired() bool {
	select {
	case <-p.conn.Retired():
		return true
	default:
		return p.isOver()
	}
}

// encode makes the datagram of one payload. payload is the copy of b in it, which is not changed later.
func (p *peer) encode(id datagram.ID, b []byte) (out, payload []byte, err error) {
	out = make([]byte, 0, len(b)+headRoom)
	if !p.v3 {
		out = datagram.AppendV2UDP(out, id, b)
		return out, out[:len(b)], nil
	}
	if out, err = datagram.AppendPayload(out, id, b); err != nil {
		return nil, nil, err
	}
	return out, out[len(out)-len(b):], nil
}

// encodeLarge makes the fragments of a payload. It counts a payload that cannot be sent and returns ErrTooLarge.
func (p *peer) encodeLarge(id datagram.ID, payload []byte) ([][]byte, error) {
	if !p.conn.Fragments() {
		p.owner.metrics.drop(dropTooLarge)
		p.owner.tooLarge.Do(func() {
			p.owner.log.Warn("udp payload dropped: it is larger than the connector takes", logkey.Bytes, len(payload), logkey.Limit,
				datagram.MaxPayload,
				logkey.TunnelID, p.conn.Slot.Tunnel)
		})
		return nil, ErrTooLarge
	}
	fragments, err := datagram.Fragments(id, uint16(p.number.Add(1)), payload) //nolint:gosec // it may wrap
	if err != nil {
		p.owner.metrics.drop(dropTooLarge)
		return nil, fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	out := make([][]byte, len(fragments))
	for i := range fragments {
		out[i] = fragments[i].Append(nil, p.v3)
	}
	return out, nil
}

// offerFragments tells the connector that this edge takes fragments. It goes ahead of each registration: if it is lost, the flow's first
// large payloads are lost as well, and the next registration tells it again.
func (p *peer) offerFragments() {
	if p.conn.Fragments() {
		p.send((&datagram.Fragment{}).Append(nil, p.v3))
	}
}

// send queues one datagram for the connector and keeps b. With a full queue it drops b.
func (p *peer) send(b []byte) {
	if p.out.put(b, p.owner.cfg.QueueBytes) {
		p.unansweredSince.CompareAndSwap(0, time.Now().UnixNano())
	} else {
		p.owner.metrics.drop(dropNoRoom)
	}
}

// sendAgain queues the payloads that a flow has kept.
func (p *peer) sendAgain(bs [][]byte) {
	if len(bs) > 0 {
		p.out.putAgain(bs)
		p.unansweredSince.CompareAndSwap(0, time.Now().UnixNano())
	}
}

// sendLoop sends the queued datagrams until ctx or the session ends.
func (p *peer) sendLoop(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	pausing := true
	var batch [][]byte
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.conn.Session.Context().Done():
			return
		case <-p.out.wake:
		case <-pause.C:
			pausing = false
		}
		if !pausing {
			if again := p.out.takeAgain(); len(again) > 0 {
				p.sendNow(again)
				pausing = true
				pause.Reset(resendPause)
			}
		}
		batch = p.out.take(batch)
		p.sendNow(batch)
	}
}

func (p *peer) sendNow(batch [][]byte) {
	for i, b := range batch {
		batch[i] = nil
		err := p.conn.Session.SendDatagram(b)
		switch {
		case err == nil:
			p.owner.metrics.sent.Inc()
		case errors.Is(err, transport.ErrDatagramTooLarge):
			p.owner.metrics.drop(dropTooLarge)
		default:
			p.owner.metrics.drop(dropNotSent)
		}
	}
}

// register registers the flow at the connector, in the connection's version. bundled says that the first waiting payload went
// with the registration.
func (p *peer) register(ctx context.Context, f *Flow) (bundled bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	//nolint:contextcheck // the end of the session must end ctx
	unlink := context.AfterFunc(p.conn.Session.Context(), func() { cancel(context.Cause(p.conn.Session.Context())) })
	defer unlink()
	p.offerFragments()
	if p.v3 {
		bundled, err = p.registerV3(ctx, f)
	} else {
		err = p.registerV2(ctx, f)
	}
	p.owner.metrics.registrations.WithLabelValues(resultOf(err)).Inc()
	return bundled, err
}

func resultOf(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrTooManyFlows):
		return "too_many_flows"
	case errors.Is(err, ErrRefused):
		return "refused"
	case errors.Is(err, ErrSilent):
		return "silent"
	default:
		return "lost"
	}
}

// registerV3 sends the registration until a response arrives, at most tries times.
func (p *peer) registerV3(ctx context.Context, f *Flow) (bundled bool, err error) {
	response := make(chan datagram.Response, 1)
	p.mu.Lock()
	p.responses[f.id] = response
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.responses[f.id] == response {
			delete(p.responses, f.id)
		}
	}()
	r := datagram.Registration{ID: f.id, Dest: f.dst, Idle: f.idle}
	if p.conn.Bundles() {
		r.Payload = f.first()
	}
	b, err := r.Append(nil)
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for try := range tries {
		p.send(b)
		timer.Reset(firstWait << try)
		select {
		case got := <-response:
			err := errorOf(got.Result, got.Text)
			return err == nil && len(r.Payload) > 0, err
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-timer.C:
		}
	}
	return false, ErrSilent
}

// errorOf returns the error of a result; nil for ResultOK.
func errorOf(r datagram.Result, text string) error {
	switch r {
	case datagram.ResultOK:
		return nil
	case datagram.ResultTooManyFlows:
		return fmt.Errorf("%w: connector: %s", ErrTooManyFlows, text)
	default:
		return fmt.Errorf("%w: %s: %s", ErrRefused, r, text)
	}
}

func (p *peer) registerV2(ctx context.Context, f *Flow) error {
	return p.call(ctx, func(ctx context.Context, c *rpc.ConnectorClient) error {
		_, err := c.RegisterUDPSession(ctx, rpc.UDPSession{ID: f.id, Dest: f.dst, Idle: f.idle})
		var refused *rpc.SessionError
		if errors.As(err, &refused) {
			return fmt.Errorf("%w: %s", ErrRefused, refused.Detail)
		}
		return err
	})
}

// unregister ends a flow at a connector with version 2. Errors are ignored: the connector has an idle timeout of its own.
func (p *peer) unregister(ctx context.Context, id datagram.ID, text string) {
	if p.v3 || p.isOver() {
		return
	}
	_ = p.call(ctx, func(ctx context.Context, c *rpc.ConnectorClient) error { // see above
		return c.UnregisterUDPSession(ctx, id, text)
	})
}

// call makes one call on an RPC stream of its own.
func (p *peer) call(ctx context.Context, f func(ctx context.Context, c *rpc.ConnectorClient) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.owner.cfg.RPCTimeout, ErrSilent)
	defer cancel()
	st, err := p.conn.Session.OpenStream(ctx)
	if err != nil {
		return fmt.Errorf("rpc stream: %w", err)
	}
	if _, err := st.Write([]byte(stream.RPCSignature)); err != nil {
		st.CancelRead(transport.NoError)
		st.CancelWrite(transport.NoError)
		return fmt.Errorf("rpc stream: %w", err)
	}
	c := rpc.NewConnectorClient(rpc.StreamConn(st))
	err = f(ctx, c)
	_ = c.Close() // the result of the call is known
	return err
}

// Serve receives for a connection until ctx or its session ends. Its flows move elsewhere when it is retired, or else when it
// ends. For a connection that carries no datagrams it returns at once.
func (fs *Flows) Serve(ctx context.Context, conn *registry.Conn) {
	if conn.Protocol != tunnel.QUIC {
		return
	}
	p := fs.attach(conn)
	var own sync.WaitGroup
	defer own.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	own.Go(func() { p.sendLoop(ctx) })
	own.Go(func() {
		select {
		case <-ctx.Done():
		case <-conn.Session.Context().Done():
		case <-conn.Retired():
			fs.vacate(p, "retired", p.isDead())
		}
	})
	for {
		b, err := conn.Session.ReceiveDatagram(ctx)
		if err != nil {
			break
		}
		p.markAlive(time.Now().UnixNano())
		fs.metrics.received.Inc()
		if p.v3 {
			fs.receiveV3(p, b)
		} else {
			fs.receiveV2(p, b)
		}
	}
	fs.detach(p)
}

// Ended ends a flow of conn, because the connector (version 2) has said that it ended the session.
func (fs *Flows) Ended(conn *registry.Conn, id datagram.ID, text string) {
	fs.mu.Lock()
	f, here := fs.flows[id], false
	if p := fs.peers[conn.Slot.Tunnel][conn]; f != nil && p != nil {
		_, here = p.flows[f]
	}
	fs.mu.Unlock()
	if here {
		f.end(fmt.Errorf("%w: connector: %s", ErrClosed, text), "")
	}
}

func (fs *Flows) receiveV3(p *peer, b []byte) {
	t, err := datagram.TypeV3(b)
	if err != nil {
		fs.metrics.drop(dropMalformed)
		return
	}
	switch t {
	case datagram.V3Payload:
		id, data, err := datagram.ParsePayload(b)
		if err != nil {
			fs.metrics.drop(dropMalformed)
			return
		}
		fs.deliver(p, id, data)
	case datagram.V3Response:
		r, err := datagram.ParseResponse(b)
		if err != nil {
			fs.metrics.drop(dropMalformed)
			return
		}
		p.respond(r)
	case datagram.V3ICMP:
		data, err := datagram.ParseICMP(b)
		if err != nil {
			fs.metrics.drop(dropMalformed)
			return
		}
		fs.echoed(p, data)
	case datagram.V3Registration:
		fs.metrics.drop(dropUnexpected)
	case datagram.V3Fragment:
		fs.receiveFragment(p, b)
	}
}

func (fs *Flows) receiveV2(p *peer, b []byte) {
	d, err := datagram.ParseV2(b)
	if err != nil {
		fs.metrics.drop(dropMalformed)
		return
	}
	switch d.Type {
	case datagram.V2UDP:
		fs.deliver(p, d.ID, d.Data)
	case datagram.V2IP, datagram.V2TracedIP:
		fs.echoed(p, d.Data)
	case datagram.V2Spans: // the edge requests no traces
		fs.metrics.drop(dropUnexpected)
	case datagram.V2Fragment:
		fs.receiveFragment(p, b)
	}
}

// receiveFragment delivers a payload of the origin when its last fragment has come.
func (fs *Flows) receiveFragment(p *peer, b []byte) {
	f, err := datagram.ParseFragment(b, p.v3)
	if err != nil {
		fs.metrics.drop(dropMalformed)
		return
	}
	payload, lost := p.incomplete.Add(f, time.Now())
	for range lost {
		fs.metrics.drop(dropIncomplete)
	}
	if payload != nil {
		fs.deliver(p, f.ID, payload)
	}
}

// deliver passes a datagram of the origin to its flow; it may come on any connection of the tunnel.
func (fs *Flows) deliver(p *peer, id datagram.ID, b []byte) {
	fs.mu.Lock()
	f := fs.flows[id]
	fs.mu.Unlock()
	if f == nil || f.tunnel != p.conn.Slot.Tunnel {
		fs.metrics.drop(dropUnknownFlow)
		return
	}
	f.touch()
	f.heard.Store(f.used.Load())
	f.deliver(b)
}

// respond passes r to the registration that waits for it. No registration waits for the response to a probe.
func (p *peer) respond(r datagram.Response) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.responses[r.ID]; c != nil {
		select {
		case c <- r:
		default: // a second response
		}
	}
}
