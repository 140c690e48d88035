package flow_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/dialer"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/flow"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/limit"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/opener"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errAborted = errors.New("response aborted")
	errStuck   = errors.New("neither end of the flow moved for too long")
)

// memStream is a link.Stream between two pipes: writes wait for the reader, as under full back-pressure.
type memStream struct {
	in  *io.PipeReader
	out *io.PipeWriter

	mu      sync.Mutex // guards the rest
	pending []byte
	timer   *time.Timer
	writes  int
	closed  bool
}

func (s *memStream) Read(p []byte) (int, error) { return s.in.Read(p) }

func (s *memStream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(p), s.sendLocked(p)
}

func (s *memStream) sendLocked(p []byte) error {
	b := append(s.pending, p...)
	s.pending = nil
	if len(b) == 0 {
		return nil
	}
	s.writes++
	_, err := s.out.Write(b)
	return err
}

func (s *memStream) Buffer(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, p...)
	if s.timer == nil {
		s.timer = time.AfterFunc(link.FlushDelay, func() { _, _ = s.Write(nil) })
	} else {
		s.timer.Reset(link.FlushDelay)
	}
	return nil
}

func (s *memStream) CloseWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.sendLocked(nil)
	s.closed = true
	return errors.Join(err, s.out.Close())
}

func (s *memStream) Abort() {
	_ = s.out.CloseWithError(errAborted) // unblocks a writer that holds the lock; no effect after Close
	_ = s.in.CloseWithError(errAborted)
}

// call is the edge's side of one flow.
type call struct {
	t      *testing.T
	stream *memStream
	send   *io.PipeWriter
	recv   *io.PipeReader
	cancel context.CancelFunc
	done   chan struct{}
}

// start begins a flow; the request's head is sent at once, its body is the caller's business.
func start(t *testing.T, h link.Handler, req stream.Request) *call {
	t.Helper()
	head, err := req.Append(nil)
	if err != nil {
		t.Fatalf("Append(%+v): %v", req, err)
	}
	c := startRaw(t, h)
	if _, err := c.send.Write(head); err != nil {
		t.Fatalf("send head: %v", err)
	}
	return c
}

func startRaw(t *testing.T, h link.Handler) *call {
	t.Helper()
	return startMeta(t, h, link.Meta{})
}

func startMeta(t *testing.T, h link.Handler, m link.Meta) *call {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	c := &call{
		t: t, stream: &memStream{in: inR, out: outW}, send: inW, recv: outR,
		cancel: cancel, done: make(chan struct{}),
	}
	go func() {
		defer close(c.done)
		h.ServeStream(ctx, m, c.stream)
		if !c.stream.closed {
			c.stream.Abort()
		}
		_ = inR.Close()
		cancel()
	}()
	// A test that writes where the proxy no longer reads, or reads where it no longer writes, fails instead of hanging.
	stuck := time.AfterFunc(3*testkit.Patience, func() {
		_ = outR.CloseWithError(errStuck)
		_ = inW.CloseWithError(errStuck)
		_ = inR.CloseWithError(errStuck)
		_ = outW.CloseWithError(errStuck)
	})
	t.Cleanup(func() {
		stuck.Stop()
		_ = outR.Close()
		_ = inW.CloseWithError(errAborted)
		cancel()
		c.wait()
	})
	return c
}

// wait waits for the flow's end.
func (c *call) wait() {
	c.t.Helper()
	testkit.Receive(c.t, "the end of the flow", c.done)
}

// head reads the ConnectResponse and gives the body that follows.
func (c *call) head() (stream.Response, io.Reader, error) {
	var buf []byte
	chunk := make([]byte, 64<<10)
	for {
		n, err := c.recv.Read(chunk)
		buf = append(buf, chunk[:n]...)
		var r stream.Response
		used, perr := stream.ParseResponse(buf, &r)
		if perr == nil {
			return r, io.MultiReader(bytes.NewReader(buf[used:]), c.recv), nil
		}
		if err != nil {
			return stream.Response{}, nil, err
		}
		if !errors.Is(perr, stream.ErrShort) {
			return stream.Response{}, nil, perr
		}
	}
}

// response is a whole response.
type response struct {
	err    string
	status string
	pairs  []string // "Name: value"
	body   string
	end    error // nil after FIN
}

func (a response) values(name string) (out []string) {
	for _, p := range a.pairs {
		if v, ok := strings.CutPrefix(p, name+": "); ok {
			out = append(out, v)
		}
	}
	return out
}

// finish reads everything.
func (c *call) finish() response {
	c.t.Helper()
	r, body, err := c.head()
	if err != nil {
		return response{end: err}
	}
	a := response{err: r.Error}
	for i, p := range r.Metadata {
		if p.Key == stream.KeyStatus {
			a.status = p.Val
			if i != 0 {
				c.t.Errorf("status is entry %d of the metadata, want 0", i)
			}
		} else {
			a.pairs = append(a.pairs, strings.TrimPrefix(p.Key, stream.HeaderPrefix)+": "+p.Val)
		}
	}
	b, err := io.ReadAll(body)
	a.body, a.end = string(b), err
	return a
}

// sendAll writes a body and FIN. The proxy may stop reading early.
func (c *call) sendAll(body string) {
	go func() {
		_, _ = io.WriteString(c.send, body)
		_ = c.send.Close()
	}()
}

// do runs a whole exchange.
func do(t *testing.T, h link.Handler, req stream.Request, body string) response {
	t.Helper()
	c := start2(t, h, req, body)
	a := c.finish()
	c.wait()
	return a
}

// start2 begins a flow with a whole request.
func start2(t *testing.T, h link.Handler, req stream.Request, body string) *call {
	t.Helper()
	head, err := req.Append(nil)
	if err != nil {
		t.Fatalf("Append(%+v): %v", req, err)
	}
	c := startRaw(t, h)
	c.sendAll(string(head) + body)
	return c
}

// get is a request for host app.example.com; more are header lines "Name: value".
func get(method, target string, headers ...string) stream.Request {
	r := stream.Request{Dest: "https://app.example.com" + target, Type: stream.HTTP, Metadata: []stream.Pair{
		{Key: stream.KeyMethod, Val: method}, {Key: stream.KeyHost, Val: "app.example.com"},
	}}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Metadata = append(r.Metadata, stream.Pair{Key: stream.HeaderPrefix + name, Val: value})
	}
	return r
}

// logs is a slog target that tests read.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logs) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: level}))
}

// rules compiles one catch-all rule; settings are lines of its originRequest.
func rules(t testing.TB, service string, settings ...string) *ingress.Set {
	t.Helper()
	text := fmt.Sprintf("ingress:\n  - service: %q\n", service)
	if len(settings) > 0 {
		text += "    originRequest:\n      " + strings.Join(settings, "\n      ") + "\n"
	}
	return compile(t, text)
}

func compile(t testing.TB, text string) *ingress.Set {
	t.Helper()
	f, err := cfdfile.Parse("config.yml", []byte(text))
	if err != nil {
		t.Fatalf("Parse(%s): %v", text, err)
	}
	set, err := ingress.Compile(f.Document)
	if err != nil {
		t.Fatalf("Compile(%s): %v", text, err)
	}
	return set
}

// tags are those of the recorded vectors.
func tags(t testing.TB) []flow.Tag {
	t.Helper()
	tag, err := flow.NewTag("zone", "a b")
	if err != nil {
		t.Fatal(err)
	}
	return []flow.Tag{tag}
}

// serve makes a handler for a set and closes its idle connections in the end.
func serve(t testing.TB, set *ingress.Set, l *logs) *flow.Handler {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	if l != nil {
		log = l.logger(slog.LevelInfo)
	}
	return serveConfig(t, set, flow.Config{Tags: tags(t), SpoolLimit: 1 << 20}, log)
}

// serveWith is serve with settings.
func serveWith(t testing.TB, set *ingress.Set, cfg flow.Config) *flow.Handler {
	t.Helper()
	return serveConfig(t, set, cfg, slog.New(slog.DiscardHandler))
}

func serveConfig(t testing.TB, set *ingress.Set, cfg flow.Config, log *slog.Logger) *flow.Handler {
	t.Helper()
	table, err := router.New(set, opener.New(log, nil))
	if err != nil {
		t.Fatalf("router.New: %v", err)
	}
	t.Cleanup(table.Close)
	return newHandler(cfg, table, log, nil)
}

// newHandler makes a handler with the private networks of the rules in table.
func newHandler(cfg flow.Config, table *router.Table, log *slog.Logger, reg prometheus.Registerer) *flow.Handler {
	warp := func(id tunnel.ID) ingress.WarpRouting { return table.For(id).Set.WarpRouting }
	cfg.Dialer = dialer.New(warp, nil)
	cfg.Flows = limit.New(func(id tunnel.ID) uint64 { return warp(id).MaxActiveFlows }, reg)
	return flow.New(cfg, table, log, reg)
}
