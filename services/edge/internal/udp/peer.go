package udp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

const (
	// tries is how often a registration of version 3 is sent; the wait for its answer doubles from firstWait.
	tries     = 3
	firstWait = 500 * time.Millisecond
	// headRoom is what a datagram adds to a payload in either version, or a little more.
	headRoom = 24
)

// peer is a connection as flows see it.
type peer struct {
	m    *Manager
	conn *registry.Conn
	v3   bool
	// pulse is nil where the transport does not tell that the peer lives; received is what it said last.
	pulse    transport.Pulse
	received atomic.Uint64
	// heard is when the peer gave a sign of life, spoken when a datagram was sent first after that (0: none was), in
	// nanoseconds.
	heard, spoken atomic.Int64
	probed        atomic.Int64
	suspect       atomic.Bool
	out           *outbox

	// flows is guarded by the manager's mu.
	flows map[*Flow]struct{}

	// mu guards answers: where registrations of version 3 wait.
	mu      sync.Mutex
	answers map[datagram.ID]chan datagram.Response
}

// lives notes a sign of life.
func (p *peer) lives(now int64) {
	p.heard.Store(now)
	p.spoken.Store(0)
	p.suspect.Store(false)
}

// lastHeard is when the peer gave its last sign of life. It asks the transport for one.
func (p *peer) lastHeard(now int64) int64 {
	if p.pulse != nil {
		if n := p.pulse.Received(); p.received.Swap(n) != n {
			p.lives(now)
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

// encode makes the datagram for one payload. payload is the copy of b in it, which nobody changes any more.
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

// send queues one datagram for the connector, which keeps b.
func (p *peer) send(b []byte) {
	if p.out.put(b, p.m.cfg.QueueBytes) {
		p.spoken.CompareAndSwap(0, time.Now().UnixNano())
	} else {
		p.m.metrics.drop(dropNoRoom)
	}
}

// sendAgain is send for what a flow kept.
func (p *peer) sendAgain(bs [][]byte) {
	if len(bs) > 0 {
		p.out.putAgain(bs)
		p.spoken.CompareAndSwap(0, time.Now().UnixNano())
	}
}

// sendLoop sends what is queued until ctx or the session ends.
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
			p.m.metrics.sent.Inc()
		case errors.Is(err, transport.ErrDatagramTooLarge):
			p.m.metrics.drop(dropTooLarge)
		default:
			p.m.metrics.drop(dropNotSent)
		}
	}
}

// register asks the connector for the flow, in the connection's version. bundled says that the first payload that waits went
// with it.
func (p *peer) register(ctx context.Context, f *Flow) (bundled bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	//nolint:contextcheck // the session's end is to end ctx
	unlink := context.AfterFunc(p.conn.Session.Context(), func() { cancel(context.Cause(p.conn.Session.Context())) })
	defer unlink()
	if p.v3 {
		bundled, err = p.registerV3(ctx, f)
	} else {
		err = p.registerV2(ctx, f)
	}
	p.m.metrics.registrations.WithLabelValues(resultOf(err)).Inc()
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

// registerV3 sends the registration until it is answered.
func (p *peer) registerV3(ctx context.Context, f *Flow) (bundled bool, err error) {
	answer := make(chan datagram.Response, 1)
	p.mu.Lock()
	p.answers[f.id] = answer
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.answers[f.id] == answer {
			delete(p.answers, f.id)
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
		case a := <-answer:
			err := errorOf(a.Result, a.Text)
			return err == nil && len(r.Payload) > 0, err
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-timer.C:
		}
	}
	return false, ErrSilent
}

// errorOf turns a result into an error.
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

// unregister tells a connector with version 2 that a flow is over; it does its best.
func (p *peer) unregister(ctx context.Context, id datagram.ID, text string) {
	if p.v3 || p.isOver() {
		return
	}
	_ = p.call(ctx, func(ctx context.Context, c *rpc.ConnectorClient) error { // the connector has its own idle time
		return c.UnregisterUDPSession(ctx, id, text)
	})
}

// call opens an RPC stream for one call.
func (p *peer) call(ctx context.Context, f func(ctx context.Context, c *rpc.ConnectorClient) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.m.cfg.RPCTimeout, ErrSilent)
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
	_ = c.Close() // the call's own end was said
	return err
}

// Serve receives for a connection until ctx or its session ends. Flows leave it when it is retired, at the latest when
// it ends. It may be called for any connection; one that carries no datagrams is left alone.
func (m *Manager) Serve(ctx context.Context, conn *registry.Conn) {
	if conn.Protocol != tunnel.QUIC {
		return
	}
	p := m.attach(conn)
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
			m.vacate(p, "retired")
		}
	})
	for {
		b, err := conn.Session.ReceiveDatagram(ctx)
		if err != nil {
			break
		}
		p.lives(time.Now().UnixNano())
		m.metrics.received.Inc()
		if p.v3 {
			m.receiveV3(p, b)
		} else {
			m.receiveV2(p, b)
		}
	}
	m.detach(p)
}

// Ended is the connector's word (version 2) that it ended a session of conn.
func (m *Manager) Ended(conn *registry.Conn, id datagram.ID, text string) {
	m.mu.Lock()
	f, here := m.flows[id], false
	if p := m.peers[conn.Slot.Tunnel][conn]; f != nil && p != nil {
		_, here = p.flows[f]
	}
	m.mu.Unlock()
	if here {
		f.end(fmt.Errorf("%w: connector: %s", ErrClosed, text), "")
	}
}

func (m *Manager) receiveV3(p *peer, b []byte) {
	t, err := datagram.TypeV3(b)
	if err != nil {
		m.metrics.drop(dropMalformed)
		return
	}
	switch t {
	case datagram.V3Payload:
		id, data, err := datagram.ParsePayload(b)
		if err != nil {
			m.metrics.drop(dropMalformed)
			return
		}
		m.deliver(p, id, data)
	case datagram.V3Response:
		r, err := datagram.ParseResponse(b)
		if err != nil {
			m.metrics.drop(dropMalformed)
			return
		}
		p.answered(r)
	case datagram.V3ICMP:
		data, err := datagram.ParseICMP(b)
		if err != nil {
			m.metrics.drop(dropMalformed)
			return
		}
		m.echoed(p, data)
	case datagram.V3Registration:
		m.metrics.drop(dropUnexpected)
	}
}

func (m *Manager) receiveV2(p *peer, b []byte) {
	d, err := datagram.ParseV2(b)
	if err != nil {
		m.metrics.drop(dropMalformed)
		return
	}
	switch d.Type {
	case datagram.V2UDP:
		m.deliver(p, d.ID, d.Data)
	case datagram.V2IP, datagram.V2TracedIP:
		m.echoed(p, d.Data)
	case datagram.V2Spans: // nobody asked for a trace
		m.metrics.drop(dropUnexpected)
	}
}

// deliver gives an answer to its flow, whichever connection of the tunnel it came on.
func (m *Manager) deliver(p *peer, id datagram.ID, b []byte) {
	m.mu.Lock()
	f := m.flows[id]
	m.mu.Unlock()
	if f == nil || f.tunnel != p.conn.Slot.Tunnel {
		m.metrics.drop(dropUnknownFlow)
		return
	}
	f.touch()
	f.deliver(b)
}

// answered wakes the registration that waits for r. The answer to a probe is for nobody.
func (p *peer) answered(r datagram.Response) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.answers[r.ID]; c != nil {
		select {
		case c <- r:
		default: // a second answer
		}
	}
}
