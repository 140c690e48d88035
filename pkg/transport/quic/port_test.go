package quic_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// relayed makes a session through a relay, and the edge's end of it.
func relayed(t *testing.T) (near, far *quic.Session, relay *testkit.Relay) {
	t.Helper()
	l, pool := listen(t, "127.0.0.1:0", quic.ServerName)
	relay = testkit.NewRelay(t, l.Addr())
	near, err := quic.Dial(t.Context(), quic.DialConfig{
		Edge: relay.Addr, TLS: quic.ClientTLS(pool, false), Settings: quic.ConnectorSettings(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.CloseWithError(0, "") })
	near.Admit()
	if far, err = l.Accept(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = far.CloseWithError(0, "") })
	return near, far, relay
}

// wantClosedPort waits for the end of a session whose edge is gone.
func wantClosedPort(t *testing.T, s *quic.Session, limit time.Duration) {
	t.Helper()
	began := time.Now()
	_, accepted := s.AcceptStream(t.Context())
	if tunnel.ReasonOf(accepted) != tunnel.ReasonClosed {
		t.Errorf("AcceptStream = %v, want reason %s", accepted, tunnel.ReasonClosed)
	}
	testkit.Receive(t, "the end of the session", s.Context().Done())
	took := time.Since(began)
	var lost *tunnel.ConnError
	if err := context.Cause(s.Context()); !errors.As(err, &lost) || lost.Reason != tunnel.ReasonClosed {
		t.Errorf("the session ended with %v, want reason %s", err, tunnel.ReasonClosed)
	}
	if took > limit {
		t.Errorf("the session ended after %v, want at most %v", took, limit)
	}
	t.Logf("ended after %v: %v", took, context.Cause(s.Context()))
}

// TestClosedPortEndsTheSession: the socket of the edge is closed without a word, as when its process is killed.
func TestClosedPortEndsTheSession(t *testing.T) {
	t.Parallel()
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		near, _, relay := relayed(t)
		relay.Close()
		wantClosedPort(t, near, 3*time.Second) // 1.4 s on a machine that does nothing else; silence alone takes 5 s
	})
	t.Run("under load", func(t *testing.T) {
		t.Parallel()
		near, far, relay := relayed(t)
		st, err := near.OpenStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		reading := make(chan error, 1)
		go func() {
			in, err := far.AcceptStream(t.Context())
			if err == nil {
				_, err = io.Copy(io.Discard, in)
			}
			reading <- err
		}()
		writing := failing(st)
		testkit.Eventually(t, "data flows", func() bool { return far.Path().BytesReceived > 1<<20 })
		relay.Close()
		wantClosedPort(t, near, 2*time.Second) // 0.5 s on a machine that does nothing else
		if err := testkit.Receive(t, "the end of the writer", writing); err == nil {
			t.Error("the writer ended without an error")
		}
		_ = far.CloseWithError(0, "") // ends the reader
		testkit.Receive(t, "the end of the reader", reading)
	})
}

// failing writes until a write fails.
func failing(st transport.Stream) <-chan error {
	ended := make(chan error, 1)
	go func() {
		for buf := make([]byte, 32<<10); ; {
			if _, err := st.Write(buf); err != nil {
				ended <- err
				return
			}
		}
	}()
	return ended
}

// TestSilenceIsNoClosedPort: a path that loses everything for a while takes no session away.
func TestSilenceIsNoClosedPort(t *testing.T) {
	t.Parallel()
	near, far, relay := relayed(t)
	relay.Silence(true)
	sent, began := near.Path().PacketsSent, time.Now()
	near.Probe() // so that the test need not wait for a keep-alive
	testkit.Eventually(t, "the session has been silent for long enough to probe the port", func() bool {
		return near.Path().PacketsSent >= sent+4 && time.Since(began) > 700*time.Millisecond
	})
	relay.Silence(false)
	received := near.Received()
	testkit.Eventually(t, "packets arrive again, or the session ends", func() bool {
		return near.Received() > received || near.Context().Err() != nil
	})
	if err := errors.Join(context.Cause(near.Context()), context.Cause(far.Context())); err != nil {
		t.Errorf("the session ended: %v", err)
	}
}

// TestDialToAClosedPort: the dial does not wait for the time-out of the handshake.
func TestDialToAClosedPort(t *testing.T) {
	t.Parallel()
	began := time.Now()
	_, pool := certificate(t, quic.ServerName)
	_, err := quic.Dial(t.Context(), quic.DialConfig{
		Edge: testkit.FreeUDP(t), TLS: quic.ClientTLS(pool, false), Settings: quic.ConnectorSettings(),
	})
	if tunnel.ReasonOf(err) != tunnel.ReasonClosed {
		t.Errorf("dial = %v, want reason %s", err, tunnel.ReasonClosed)
	}
	if took := time.Since(began); took > 2*time.Second { // 0.3 s on a machine that does nothing else
		t.Errorf("the dial took %v", took)
	}
}

// TestDialToASilentPort: a port that does not respond is no closed port, and an edge that comes in time is reached.
func TestDialToASilentPort(t *testing.T) {
	t.Parallel()
	l, pool := listen(t, "127.0.0.1:0", quic.ServerName)
	relay := testkit.NewRelay(t, l.Addr())
	relay.Silence(true)
	wake := time.AfterFunc(time.Second, func() { relay.Silence(false) })
	defer wake.Stop()
	near, err := quic.Dial(t.Context(), quic.DialConfig{
		Edge: relay.Addr, TLS: quic.ClientTLS(pool, false), Settings: quic.ConnectorSettings(),
	})
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	_ = near.CloseWithError(0, "") // the test is over
}
