//go:build system

package system_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	h2transport "github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// falseEdge accepts every connector and attacks it.
type falseEdge struct {
	addr   netip.AddrPort
	caFile string
	wg     sync.WaitGroup

	mu       sync.Mutex // guards sessions
	sessions []transport.Session
	next     atomic.Uint64
	ended    atomic.Int64 // valid requests whose session ended
}

// edgeCertificate returns a certificate for the names that connectors expect of an edge, and the file of its CA.
func edgeCertificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	ca := testkit.NewCA(t)
	return ca.Issue(t, quic.ServerName, h2transport.ServerName), ca.File(t)
}

func startFalseEdge(t *testing.T, protocol string) *falseEdge {
	t.Helper()
	cert, caFile := edgeCertificate(t)
	ctx, stop := context.WithCancel(context.Background())
	e := &falseEdge{caFile: caFile}
	local := netip.MustParseAddrPort("127.0.0.1:0")
	var accept func(ctx context.Context) (transport.Session, error)
	var closeListener func() error
	if protocol == "quic" {
		l, err := quic.Listen(quic.ListenConfig{
			Addr: local, Settings: quic.EdgeSettings(),
			TLS: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{quic.ALPN}},
		})
		if err != nil {
			t.Fatal(err)
		}
		e.addr, closeListener = l.Addr(), l.Close
		accept = func(ctx context.Context) (transport.Session, error) { return l.Accept(ctx) }
	} else {
		l, err := h2transport.Listen(
			h2transport.ListenConfig{Addr: local, Settings: h2transport.EdgeSettings(), TLS: &tls.Config{Certificates: []tls.Certificate{cert}}},
		)
		if err != nil {
			t.Fatal(err)
		}
		e.addr, closeListener = l.Addr(), l.Close
		accept = func(ctx context.Context) (transport.Session, error) { return l.Accept(ctx) }
	}
	e.wg.Go(func() {
		for {
			s, err := accept(ctx)
			if err != nil {
				return
			}
			e.wg.Go(func() { e.serve(ctx, s) })
		}
	})
	t.Cleanup(func() {
		stop()
		_ = closeListener()
		e.mu.Lock()
		for _, s := range e.sessions {
			_ = s.CloseWithError(0, "over")
		}
		e.mu.Unlock()
		e.wg.Wait()
	})
	return e
}

func (e *falseEdge) serve(ctx context.Context, s transport.Session) {
	control, err := s.AcceptStream(ctx)
	if err != nil {
		return
	}
	_ = rpc.ServeRegistration(s.Context(), rpc.StreamConn(control), &registrar{e: e, s: s})
	<-s.Context().Done()
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, have := range e.sessions {
		if have == s {
			e.sessions = append(e.sessions[:i:i], e.sessions[i+1:]...)
			return
		}
	}
}

// registrar accepts every registration.
type registrar struct {
	e *falseEdge
	s transport.Session
}

func (r *registrar) Register(context.Context, rpc.RegisterRequest) (rpc.ConnectionDetails, error) {
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	r.e.sessions = append(r.e.sessions, r.s)
	return rpc.ConnectionDetails{UUID: [16]byte{1}, Location: "false"}, nil
}
func (*registrar) Unregister(context.Context) error                       { return nil }
func (*registrar) UpdateLocalConfiguration(context.Context, []byte) error { return nil }

// session returns a live session; it waits until there is one.
func (e *falseEdge) session(ctx context.Context) (transport.Session, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		e.mu.Lock()
		n := len(e.sessions)
		var s transport.Session
		if n > 0 {
			s = e.sessions[int(e.next.Add(1)%uint64(n))]
		}
		e.mu.Unlock()
		if s != nil && s.Context().Err() == nil {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

func requestBytes(path string, more ...stream.Pair) []byte {
	r := stream.Request{Dest: "http://a" + path, Type: stream.HTTP, Metadata: append([]stream.Pair{
		{Key: stream.KeyMethod, Val: "GET"}, {Key: stream.KeyHost, Val: "a"},
	}, more...)}
	b, err := r.Append(nil)
	if err != nil {
		panic(err) // the request is the same in every run
	}
	return b
}

// open sends b on a new stream and passes the stream to a function.
func (e *falseEdge) open(ctx context.Context, b []byte, then func(st transport.Stream)) {
	s, err := e.session(ctx)
	if err != nil {
		return
	}
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	st, err := s.OpenStream(limited)
	if err != nil {
		return
	}
	_ = st.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, _ = st.Write(b)
	then(st)
	st.CancelRead(0)
	st.CancelWrite(0)
}

func atOnce(transport.Stream) {}

func afterFirst(st transport.Stream) {
	_ = st.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = st.Read(make([]byte, 100))
}

func (e *falseEdge) attacks(protocol, udp string) map[string]attack {
	held := func(ctx context.Context, n int, b []byte) int {
		return crowd(ctx, n, func(ctx context.Context) { e.open(ctx, b, func(transport.Stream) { <-ctx.Done() }) })
	}
	large, unread := requestBytes("/bytes/67108864"), requestBytes("/bytes/50000") // together less than a connection's window
	upload := requestBytes("/sum", stream.Pair{Key: stream.HeaderPrefix + "Content-Length", Val: "1000000"})
	heads := requestBytes("/bytes/1", stream.Pair{Key: stream.HeaderPrefix + "X-Bomb", Val: strings.Repeat("a", 3<<20)})
	out := map[string]attack{
		"resets at once": func(ctx context.Context) int { return times(ctx, 20000, 4, func(int) { e.open(ctx, large, atOnce) }) },
		"resets in a response": func(ctx context.Context) int {
			return times(ctx, 2000, 4, func(int) { e.open(ctx, large, afterFirst) })
		},
		"unread responses":  func(ctx context.Context) int { return held(ctx, 300, unread) },
		"bodies that stall": func(ctx context.Context) int { return held(ctx, 300, upload) },
		"head bombs":        func(ctx context.Context) int { return times(ctx, 100, 2, func(int) { e.open(ctx, heads, afterFirst) }) },
		"bad destinations": func(ctx context.Context) int {
			return times(ctx, 2000, 4, func(i int) {
				r := stream.Request{Dest: string(noise(i % 50)), Type: stream.Type(i % 5)}
				b, err := r.Append(nil)
				if err == nil {
					e.open(ctx, b, afterFirst)
				}
			})
		},
	}
	if protocol != "quic" { // over HTTP/2 streams are requests; the frames themselves are attacked in package mux
		return out
	}
	out["garbage streams"] = func(ctx context.Context) int {
		return times(ctx, 5000, 4, func(i int) { e.open(ctx, noise(1+i%5000), atOnce) })
	}
	out["half heads"] = func(ctx context.Context) int { return held(ctx, 300, large[:len(large)/2]) }
	out["garbage calls"] = func(ctx context.Context) int {
		return times(ctx, 1000, 4, func(i int) { e.open(ctx, append([]byte(stream.RPCSignature), noise(8*(i%500))...), afterFirst) })
	}
	out["garbage datagrams"] = func(ctx context.Context) int {
		return times(ctx, 50000, 2, func(i int) {
			if s, err := e.session(ctx); err == nil {
				_ = s.SendDatagram(noise(i % 1200))
			}
		})
	}
	out["datagrams of nobody"] = func(ctx context.Context) int {
		return times(ctx, 50000, 2, func(i int) {
			if s, err := e.session(ctx); err == nil {
				var id datagram.ID
				copy(id[:], noise(16))
				_ = s.SendDatagram(datagram.AppendV2UDP(nil, id, noise(i%1200)))
			}
		})
	}
	out["udp sessions"] = func(ctx context.Context) int { return times(ctx, 5000, 8, func(int) { e.udpSession(ctx, udp) }) }
	return out
}

// udpSession registers a UDP session, uses it once and forgets it.
func (e *falseEdge) udpSession(ctx context.Context, dest string) {
	var id datagram.ID
	copy(id[:], noise(16))
	e.open(ctx, []byte(stream.RPCSignature), func(st transport.Stream) {
		limited, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		c := rpc.NewConnectorClient(rpc.StreamConn(st))
		_, _ = c.RegisterUDPSession(limited, rpc.UDPSession{ID: id, Dest: netip.MustParseAddrPort(dest), Idle: 2 * time.Second})
		_ = c.Close()
	})
	if s, err := e.session(ctx); err == nil {
		_ = s.SendDatagram(datagram.AppendV2UDP(nil, id, noise(500)))
	}
}

// ask sends a valid request between the attacks, and once more when the session ended meanwhile, as an edge does: the connector ends a
// QUIC session whose peer makes it queue more than 16384 control frames, and connects again.
func (e *falseEdge) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for first := true; ; first = false {
		s, err := e.session(ctx)
		if err != nil {
			return err
		}
		if err = askOver(ctx, s); err == nil || !first || s.Context().Err() == nil {
			return err
		}
		e.ended.Add(1)
	}
}

// askOver sends a valid request over a session.
func askOver(ctx context.Context, s transport.Session) error {
	st, err := s.OpenStream(ctx)
	if err != nil {
		return err
	}
	defer st.CancelRead(0)
	_ = st.SetReadDeadline(time.Now().Add(patience))
	if _, err := st.Write(requestBytes("/bytes/1000")); err != nil {
		return err
	}
	if err := st.CloseWrite(); err != nil {
		return err
	}
	b, err := io.ReadAll(st)
	if err != nil {
		return fmt.Errorf("after %d bytes: %w", len(b), err)
	}
	var r stream.Response
	n, err := stream.ParseResponse(b, &r)
	status, _ := stream.Lookup(r.Metadata, stream.KeyStatus)
	if err != nil || status != "200" || len(b)-n != 1000 {
		return errors.Join(err, fmt.Errorf("status %q, error %q, %d bytes", status, r.Error, len(b)-n))
	}
	return nil
}

// TestHostileEdge checks that a connector survives whatever an edge sends, still serves valid requests, and needs no more
// resources afterwards than before.
func TestHostileEdge(t *testing.T) {
	for _, protocol := range []string{"quic", "http2"} {
		t.Run(protocol, func(t *testing.T) {
			o := hostileOrigins(t)
			e := startFalseEdge(t, protocol)
			ops := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
			token := credential.Token(tunnel.Credentials{AccountTag: "a", Secret: tunnel.Secret(noise(32)), TunnelID: tunnel.ID{1}})
			c := harness.Start(t, []string{"TUNNEL_TOKEN=" + token}, harness.Binary(t, "culvert"), "tunnel", "--no-autoupdate", "--protocol", protocol,
				"--cacert", e.caFile, "--metrics", ops, "--edge", e.addr.String(), "--url", o.http.URL, "run")
			testkit.Retry(t, "a connection", patience, func() error {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := e.session(ctx)
				return err
			})
			besiege(t, e.attacks(protocol, o.echo), e.ask, &watched{name: "culvert", program: c, metrics: ops})
			// At most two visitors ask at a time, and it takes a flood to end a session.
			if n := e.ended.Load(); n > 10 {
				t.Errorf("%d requests were repeated because their session had ended", n)
			}
		})
	}
}
