package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/mem"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type observer struct {
	mu        sync.Mutex
	opened    int
	outcomes  map[Outcome]int
	datagrams int
	served    []string
	changed   chan struct{}
}

func (o *observer) StreamOpened() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opened++
}

func (o *observer) StreamEnded(out Outcome) {
	o.mu.Lock()
	o.outcomes[out]++
	o.mu.Unlock()
	o.changed <- struct{}{}
}

func (*observer) DatagramReceived()                                  {}
func (*observer) DatagramSent()                                      {}
func (*observer) SessionsChanged(tunnel.ConnIndex, udp.Version, int) {}
func (*observer) SessionRegistered(tunnel.ConnIndex, udp.Version)    {}
func (*observer) Told(time.Duration, error)                          {}

func (o *observer) Served(m Method, _ time.Duration, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.served = append(o.served, fmt.Sprint(m, ": ", err))
}

func (o *observer) DatagramDropped(udp.Reason) {
	o.mu.Lock()
	o.datagrams++
	o.mu.Unlock()
	o.changed <- struct{}{}
}

func (o *observer) of(out Outcome) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.outcomes[out]
}

type carrierFunc func(ctx context.Context, f link.Flow) error

func (c carrierFunc) Carry(ctx context.Context, f link.Flow) error { return c(ctx, f) }

type remote struct{}

func (remote) Apply(_ context.Context, u remoteconfig.Update) (int32, error) {
	if string(u.Document) == "bad" {
		return 3, &remoteconfig.RejectedError{Reason: "no such thing"}
	}
	return u.Version, nil
}

// datagrams passes datagrams of v2 on.
func datagrams(c udp.Config) func(transport.Session, link.Meta, Options) Datagrams {
	all := udp.New(c)
	return func(s transport.Session, meta link.Meta, _ Options) Datagrams { return all.Session(s, meta, udp.V2) }
}

// start serves a session and gives the edge's end.
func start(t *testing.T, carrier carrierFunc, handler Applier) (transport.Session, *Session, *observer) {
	t.Helper()
	o := &observer{outcomes: map[Outcome]int{}, changed: make(chan struct{}, 16)}
	edge, connector := mem.Pair(t.Context())
	logger := slog.New(slog.DiscardHandler)
	r := New(Config{
		Carrier: carrier, Applier: handler, Observer: o, Logger: logger, RPCTimeout: 5 * time.Second,
		Datagrams: datagrams(udp.Config{Carrier: carrier, Observer: o, Logger: logger, RPCTimeout: 5 * time.Second}),
	})
	s := r.Session(connector, link.Meta{Index: 3}, Options{})
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	t.Cleanup(func() {
		_ = edge.CloseWithError(0, "over")
		if err := <-done; err == nil {
			t.Error("a served session ended without a reason")
		}
	})
	return edge, s, o
}

func open(t *testing.T, edge transport.Session, pieces ...string) transport.Stream {
	t.Helper()
	st, err := edge.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pieces {
		if _, err := st.Write([]byte(p)); err != nil {
			t.Fatal(err)
		}
	}
	return st
}

func request(t *testing.T) string {
	t.Helper()
	b, err := (&stream.Request{Dest: "http://app/"}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDataStreams(t *testing.T) {
	tests := []struct {
		name    string
		err     error
		outcome Outcome
	}{
		{"done", nil, Done},
		{"proxy lost", link.ErrLost, ProxyLost},
		{"aborted", io.ErrUnexpectedEOF, Aborted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got link.Flow
			var first string
			edge, s, o := start(t, func(_ context.Context, f link.Flow) error {
				got, first = f, string(f.First)
				return tt.err
			}, Unsupported{})
			text := request(t)
			// In pieces: the signature alone does not make a request, and is not waited for in vain.
			open(t, edge, text[:3], text[3:])
			<-o.changed
			if o.of(tt.outcome) != 1 || got.Meta.Index != 3 {
				t.Errorf("outcomes %v, meta %+v", o.outcomes, got.Meta)
			}
			if first == "" || first != text[:len(first)] {
				t.Errorf("first bytes %q", first)
			}
			s.Drained(t.Context())
			if s.InFlight() != 0 {
				t.Errorf("%d in flight", s.InFlight())
			}
		})
	}
}

func TestFinTravelsWithTheFirstBytes(t *testing.T) {
	released := make(chan struct{})
	var eof bool
	edge, s, o := start(t, func(_ context.Context, f link.Flow) error {
		eof = f.EOF
		<-released
		return nil
	}, Unsupported{})
	st := open(t, edge)
	if _, err := st.Write([]byte(request(t))); err != nil {
		t.Fatal(err)
	}
	if err := st.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	// A drain that is cut short leaves the flow alone.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Drained(ctx)
	close(released)
	<-o.changed
	_ = eof // whether FIN came together with the bytes is up to the transport
	if o.of(Done) != 1 {
		t.Errorf("outcomes %v", o.outcomes)
	}
}

func TestNoProxyIsAnswered(t *testing.T) {
	edge, _, o := start(t, func(context.Context, link.Flow) error { return link.ErrNotAccepted }, Unsupported{})
	st := open(t, edge, request(t))
	b, err := io.ReadAll(st)
	if err != nil {
		t.Fatal(err)
	}
	var resp stream.Response
	if _, err := stream.ParseResponse(b, &resp); err != nil || resp.Error != noProxy {
		t.Errorf("response %+v, %v", resp, err)
	}
	<-o.changed
	if o.of(NotAccepted) != 1 {
		t.Errorf("outcomes %v", o.outcomes)
	}
}

func TestUnknownStreamsAreReset(t *testing.T) {
	edge, _, o := start(t, func(context.Context, link.Flow) error { return nil }, Unsupported{})
	st := open(t, edge, "GET / HTTP/1.1\r\n")
	if _, err := io.ReadAll(st); !errors.Is(err, transport.ErrReset) {
		t.Errorf("got %v", err)
	}
	<-o.changed
	cut := open(t, edge, "\x0a\x36")
	if err := cut.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	<-o.changed
	if o.of(Unknown) != 2 {
		t.Errorf("outcomes %v", o.outcomes)
	}
}

func TestPanicEndsItsFlowOnly(t *testing.T) {
	panics := true
	edge, _, o := start(t, func(context.Context, link.Flow) error {
		if panics {
			panic("defect")
		}
		return nil
	}, Unsupported{})
	st := open(t, edge, request(t))
	if _, err := io.ReadAll(st); !errors.Is(err, transport.ErrReset) {
		t.Errorf("got %v", err)
	}
	<-o.changed
	panics = false
	open(t, edge, request(t))
	<-o.changed
	if o.of(Panicked) != 1 || o.of(Done) != 1 {
		t.Errorf("outcomes %v", o.outcomes)
	}
}

func TestDatagramsAreCounted(t *testing.T) {
	edge, _, o := start(t, func(context.Context, link.Flow) error { return nil }, Unsupported{})
	if err := edge.SendDatagram([]byte("payload")); err != nil {
		t.Fatal(err)
	}
	<-o.changed
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.datagrams != 1 {
		t.Errorf("%d datagrams", o.datagrams)
	}
}

func TestConfigurationPush(t *testing.T) {
	tests := []struct {
		name    string
		handler Applier
		config  string
		applied int32
		text    string
	}{
		{"applied", remote{}, "{}", 7, ""},
		{"rejected", remote{}, "bad", 3, "no such thing"},
		{"unsupported", Unsupported{}, "{}", -1, "remote configuration is not supported yet: unsupported operation"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			edge, _, o := start(t, func(context.Context, link.Flow) error { return nil }, tt.handler)
			st := open(t, edge, stream.RPCSignature)
			client := rpc.NewConnectorClient(rpc.StreamConn(st))
			applied, err := client.Apply(t.Context(), remoteconfig.Update{Version: 7, Document: []byte(tt.config)})
			var rejected *remoteconfig.RejectedError
			switch {
			case tt.text == "":
				if err != nil || applied != tt.applied {
					t.Errorf("got %d, %v", applied, err)
				}
			case !errors.As(err, &rejected) || applied != tt.applied || rejected.Reason != tt.text:
				t.Errorf("got %d, %v", applied, err)
			}
			_ = client.Close()
			<-o.changed
			if o.of(RPC) != 1 {
				t.Errorf("outcomes %v", o.outcomes)
			}
			if len(o.served) != 1 || !strings.HasPrefix(o.served[0], "update_configuration: ") ||
				strings.HasSuffix(o.served[0], "<nil>") != (tt.text == "") {
				t.Errorf("calls counted: %q", o.served)
			}
		})
	}
}

// BenchmarkServe measures what a stream costs in the worker alone.
func BenchmarkServe(b *testing.B) {
	o := &observer{outcomes: map[Outcome]int{}, changed: make(chan struct{}, 16)}
	edge, connector := mem.Pair(b.Context())
	r := New(Config{
		Carrier: carrierFunc(func(_ context.Context, f link.Flow) error { return f.Stream.CloseWrite() }), Applier: Unsupported{},
		Observer: o, Logger: slog.New(slog.DiscardHandler), RPCTimeout: time.Second,
		Datagrams: datagrams(udp.Config{Observer: o, Logger: slog.New(slog.DiscardHandler)}),
	})
	s := r.Session(connector, link.Meta{}, Options{})
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	text, err := (&stream.Request{Dest: "http://app/"}).Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		st, err := edge.OpenStream(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := st.Write(text); err != nil {
			b.Fatal(err)
		}
		<-o.changed
	}
	_ = edge.CloseWithError(0, "")
	<-done
}
