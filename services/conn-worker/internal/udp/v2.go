package udp

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link/packet"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// receiveV2 handles one datagram of version 2.
func (s *Session) receiveV2(b []byte) {
	d, err := datagram.ParseV2(b)
	if err != nil {
		s.drop(Malformed)
		return
	}
	switch d.Type {
	case datagram.V2UDP:
		s.payload(d.ID, d.Data)
	case datagram.V2IP, datagram.V2TracedIP:
		s.icmp(d.Data)
	case datagram.V2Spans:
		s.drop(Unexpected)
	case datagram.V2Fragment:
		s.fragment(b)
	}
}

// RegisterUDPSession registers a session of version 2 at a proxy and waits for the response.
func (s *Session) RegisterUDPSession(ctx context.Context, r rpc.UDPSession) ([]byte, error) {
	if s.version == V3 {
		return nil, rpc.ErrRegisterV3
	}
	response := make(chan packet.Message, 1)
	if err := s.register(r.ID, r.Dest, r.Idle, nil, response); err != nil { //nolint:contextcheck // flows last as long as the session
		if errors.Is(err, errTooMany) {
			return nil, errors.New(limited)
		}
		s.forget(r.ID, response)
		return nil, err
	}
	select {
	case m, ok := <-response:
		switch {
		case !ok:
			return nil, errNotHere
		case m.Result != datagram.ResultOK:
			return nil, errors.New(refusal(m.Result, m.Text))
		}
		return nil, nil
	case <-ctx.Done():
		s.giveUp(r.ID, response)
		return nil, context.Cause(ctx)
	}
}

// giveUp stops waiting for the proxy's response to a registration. The session stays, and ends when it is idle: an edge that
// registers over several connections at once gives up all calls but the first that succeeds, and to end the session for one of them
// would end it for all.
func (s *Session) giveUp(id datagram.ID, response chan packet.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.sessions[id]; e != nil && e.response == response {
		e.response = nil
	}
}

// UnregisterUDPSession ends a session of version 2 for the edge.
func (s *Session) UnregisterUDPSession(_ context.Context, id [datagram.IDSize]byte, message string) error {
	if s.version == V3 {
		return rpc.ErrUnregisterV3
	}
	s.unregister(id, message)
	return nil
}

// unregister forgets a session and lets its proxy do so. The session may belong to another connection.
func (s *Session) unregister(id datagram.ID, message string) {
	if s.unregisterHere(id, message) {
		return
	}
	if other := s.relay.find(s.home(id)); other != nil && other != s {
		other.unregisterHere(id, message)
	}
	s.relay.takeLeft(s.home(id))
}

// unregisterHere is unregister for a session of this connection; it reports whether it is one.
func (s *Session) unregisterHere(id datagram.ID, message string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.forgetLocked(id)
	if e != nil && e.flow != nil {
		// If the pipe has no room for the message, the proxy ends the flow after its idle time.
		_ = e.flow.pipe.put(&packet.Message{Type: packet.Unregister, ID: id, Text: message}, true)
	}
	return e != nil
}

// tell notifies the edge on a new stream that a session ended. It ignores errors: the edge has an idle time of its own.
func (s *Session) tell(id datagram.ID, message string) {
	select {
	case s.telling <- struct{}{}:
	default:
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		<-s.telling
		return
	}
	s.tasks.Go(func() {
		defer func() { <-s.telling }()
		ctx, cancel := s.withTimeout()
		defer cancel()
		began := time.Now()
		err := s.tellNow(ctx, id, message)
		s.cfg.Observer.Told(time.Since(began), err)
		if err != nil && ctx.Err() == nil {
			s.cfg.Logger.DebugContext(ctx, "end of a udp session not told", slog.String(logkey.FlowID, id.String()), slog.Any(logkey.Err, err))
		}
	})
}

func (s *Session) tellNow(ctx context.Context, id datagram.ID, message string) error {
	st, err := s.session.OpenStream(ctx)
	if err != nil {
		return err
	}
	if _, err := st.Write([]byte(stream.RPCSignature)); err != nil {
		return err
	}
	client := rpc.NewSessionClient(rpc.StreamConn(st))
	return errors.Join(client.UnregisterUDPSession(ctx, id, message), client.Close())
}
