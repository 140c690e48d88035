package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/management"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/pkg/wire/websocket"
)

const (
	// tailTurns is how often the load runs without, with and again without an open log stream on one connector.
	tailTurns = 4
	// tailStart bounds the time until the connector has begun to send lines.
	tailStart = 10 * time.Second
)

// logStream is an open log stream, as `culvert tail` has one.
type logStream struct {
	st    transport.Stream
	lines atomic.Int64
	ended chan error
}

// openTail opens a log stream through the connector and begins to read its lines. The connector accepts the token as it accepts one of
// the vendor's edge: that edge has verified it.
func openTail(ctx context.Context, e *edge) (*logStream, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	c := credentials()
	claims := &management.Claims{
		Tunnel: management.TokenTunnel{ID: c.TunnelID.String(), AccountTag: c.AccountTag}, Actor: management.Actor{ID: "bench"},
	}
	now := time.Now()
	claims.SetLife("tunnelstore", now, now.Add(time.Hour))
	token, err := management.Sign(claims, key)
	if err != nil {
		return nil, err
	}
	st, err := e.open(ctx)
	if err != nil {
		return nil, err
	}
	s := &logStream{st: st, ended: make(chan error, 1)}
	if err := s.handshake(token); err != nil {
		s.abort()
		return nil, err
	}
	return s, nil
}

func (s *logStream) abort() {
	s.st.CancelRead(transport.NoError)
	s.st.CancelWrite(transport.NoError)
}

// handshake sends the request for the websocket and the message that starts the lines, and reads on in the background.
func (s *logStream) handshake(token string) error {
	h := func(name, val string) stream.Pair { return stream.Pair{Key: stream.HeaderPrefix + name, Val: val} }
	req := stream.Request{
		Dest: "http://" + management.Host + management.PathLogs + "?" + management.TokenParameter + "=" + token, Type: stream.WebSocket,
		Metadata: []stream.Pair{
			{Key: stream.KeyMethod, Val: "GET"},
			{Key: stream.KeyHost, Val: management.Host},
			h("Connection", "Upgrade"), h("Upgrade", "websocket"), h("Sec-WebSocket-Version", "13"),
			h("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
		},
	}
	head, err := req.Append(nil)
	if err != nil {
		return fmt.Errorf("log stream: %w", err)
	}
	start, err := json.Marshal(management.Request{Type: management.TypeStart})
	if err != nil {
		return err
	}
	if _, err := s.st.Write(head); err != nil {
		return fmt.Errorf("log stream: %w", err)
	}
	buf, have := make([]byte, 64<<10), 0
	var resp stream.Response
	for {
		n, err := s.st.Read(buf[have:])
		have += n
		used, perr := stream.ParseResponse(buf[:have], &resp)
		switch {
		case errors.Is(perr, stream.ErrShort) && err == nil:
			continue
		case perr != nil:
			return fmt.Errorf("log stream: %w", errors.Join(perr, err))
		case resp.Error != "" || len(resp.Metadata) == 0 || resp.Metadata[0].Val != "101" && resp.Metadata[0].Val != "200":
			return fmt.Errorf("log stream refused: error %q, metadata %v", resp.Error, resp.Metadata)
		}
		if _, err := s.st.Write(websocket.AppendMasked(nil, websocket.Text, [4]byte{1, 2, 3, 4}, start)); err != nil {
			return fmt.Errorf("log stream: %w", err)
		}
		go func() { s.ended <- s.read(buf, buf[used:have]) }()
		return nil
	}
}

// read counts the messages until the stream ends.
func (s *logStream) read(buf, rest []byte) error {
	var dec websocket.Decoder
	for {
		for len(rest) > 0 {
			ev, n, err := dec.Next(rest)
			if err != nil {
				return err
			}
			rest = rest[n:]
			if ev.Kind == websocket.Data && ev.Last {
				s.lines.Add(1)
			}
			if ev.Kind == websocket.Control && ev.Opcode == websocket.Close {
				return nil
			}
		}
		n, err := s.st.Read(buf)
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
		rest = buf[:n]
	}
}

// close ends the stream in order and waits for its end.
func (s *logStream) close() error {
	frame := websocket.AppendMasked(nil, websocket.Close, [4]byte{1, 2, 3, 4}, websocket.AppendClose(nil, websocket.CodeNormal, ""))
	if _, err := s.st.Write(frame); err != nil {
		return fmt.Errorf("log stream: %w", err)
	}
	err := <-s.ended
	s.abort()
	return err
}

// tails measures the cost of a log stream for each number of requests in flight.
func (m *measurement) tails(ctx context.Context, o options) error {
	if err := m.warm(ctx); err != nil {
		return err
	}
	for _, n := range o.inFlight {
		if err := m.tail(ctx, n, o.measure); err != nil {
			return err
		}
	}
	return nil
}

// tail measures what a request costs without and with an open log stream. The two take turns on one connector in the order without, with,
// with, without, so that what changes steadily hurts both alike; the figure is the median of the ratios of these turns.
func (m *measurement) tail(ctx context.Context, n int, d time.Duration) error {
	if _, err := small(ctx, m.e, n, min(d, fill)); err != nil {
		return err
	}
	var closed, open, ratios, lines []float64
	for range tailTurns {
		first, err := m.perRequest(ctx, n, d)
		if err != nil {
			return err
		}
		s, err := openTail(ctx, m.e)
		if err != nil {
			return err
		}
		if err := m.awaitLines(ctx, s); err != nil {
			return err
		}
		before := s.lines.Load()
		with, err := m.perRequest(ctx, n, 2*d)
		if err != nil {
			return err
		}
		lines = append(lines, float64(s.lines.Load()-before)/(2*d).Seconds())
		if err := s.close(); err != nil {
			return fmt.Errorf("log stream: %w", err)
		}
		last, err := m.perRequest(ctx, n, d)
		if err != nil {
			return err
		}
		without := (first + last) / 2
		closed, open, ratios = append(closed, without), append(open, with), append(ratios, 100*(with/without-1))
	}
	name := fmt.Sprintf("%d in flight: ", n)
	m.add(name+"CPU per request, no tail", "us", median(closed))
	m.add(name+"CPU per request, tail open", "us", median(open))
	m.add(name+"cost of a tail", "%", median(ratios))
	m.add(name+"lines of the tail", "per s", median(lines))
	return nil
}

// awaitLines sends requests until the stream has a line.
func (m *measurement) awaitLines(ctx context.Context, s *logStream) error {
	for deadline := time.Now().Add(tailStart); time.Now().Before(deadline); {
		if _, err := small(ctx, m.e, 1, 50*time.Millisecond); err != nil {
			return err
		}
		if s.lines.Load() > 0 {
			return nil
		}
	}
	return errors.New("the log stream has no lines")
}

// perRequest is the CPU time of the connector for one request, in microseconds.
func (m *measurement) perRequest(ctx context.Context, n int, d time.Duration) (float64, error) {
	before, err := m.c.cpu()
	if err != nil {
		return 0, err
	}
	f, err := small(ctx, m.e, n, d)
	if err != nil {
		return 0, err
	}
	after, err := m.c.cpu()
	if err != nil {
		return 0, err
	}
	return float64((after - before).Microseconds()) / float64(f.requests), nil
}
