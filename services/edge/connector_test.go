package edge_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge"
)

func wantRefused(t *testing.T, what string, err error, reason tunnel.Reason, retryable bool, text string) {
	t.Helper()
	var ce *tunnel.ConnError
	if !errors.As(err, &ce) || ce.Reason != reason || ce.Retryable != retryable || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v; want %s, retryable %v, with %q", what, err, reason, retryable, text)
	}
}

func TestRegistrationRefusals(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for name, change := range map[string]func(*rpc.RegisterRequest){
		"wrong secret":   func(r *rpc.RegisterRequest) { r.Auth.Secret = make([]byte, 32) },
		"no secret":      func(r *rpc.RegisterRequest) { r.Auth.Secret = nil },
		"wrong account":  func(r *rpc.RegisterRequest) { r.Auth.AccountTag = "other" },
		"unknown tunnel": func(r *rpc.RegisterRequest) { r.TunnelID[3]++ },
	} {
		p := b.dial(0, 0)
		req := b.request(0)
		change(&req)
		_, err := p.register(req)
		wantRefused(t, name, err, tunnel.ReasonRefused, false, "Unauthorized: Invalid tunnel secret")
	}
	p := b.dial(0, 0)
	req := b.request(0)
	req.Options.ConnectorID = tunnel.ConnectorID{}
	_, err := p.register(req)
	wantRefused(t, "no connector id", err, tunnel.ReasonRefused, false, "malformed")
	if n := b.connections("active"); n != 0 {
		t.Errorf("%d connections are registered", n)
	}
	if _, err := p.register(b.request(0)); err != nil {
		t.Errorf("a second attempt on the session, with valid credentials: %v", err)
	}
	if _, err := p.register(b.request(1)); err == nil {
		t.Error("one session registered twice")
	}
}

func TestDuplicatesAndEpochs(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	first := b.connect(0, 0, named("first"))
	dup := b.dial(0, 0)
	_, err := dup.register(b.request(0))
	wantRefused(t, "same slot, same edge address", err, tunnel.ReasonDuplicate, false, rpc.CauseDuplicate)

	b.connect(0, 0, named("second"), "culvert_epoch=5")
	b.served("second")
	testkit.Receive(t, "the end of the replaced session, which has no requests", first.sess.Context().Done())

	stale := b.dial(1, 0)
	_, err = stale.register(b.request(0, "culvert_epoch=4"))
	wantRefused(t, "older epoch elsewhere", err, tunnel.ReasonRefused, true, "epoch")

	third := b.connect(1, 0, named("third"), "culvert_epoch=6")
	b.served("third")
	if n := b.connections("active"); n != 2 {
		t.Errorf("%d active connections, want both until the old one unregisters", n)
	}
	if err := third.reg.Unregister(t.Context()); err != nil {
		t.Fatalf("Unregister: %v", err)
	}
	b.served("second")
}

// named responds to every request with a name.
func named(name string) script {
	return func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) {
		respond(st, "200")
		_, _ = st.Write([]byte(name))
		end(st)
	}
}

func (b *bench) served(by string) {
	b.t.Helper()
	for range 8 {
		if resp, body := b.get("/"); resp.StatusCode != 200 || string(body) != by {
			b.t.Fatalf("served by %q (%d), want %q", body, resp.StatusCode, by)
		}
	}
}

func TestReconnectFromTheSamePort(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	old := b.connect(0, 0, named("old"))
	port := old.sess.LocalAddr().Port()
	if err := old.sess.CloseWithError(0, ""); err != nil {
		t.Fatal(err)
	}
	p := b.dial(0, port)
	if _, err := p.register(b.request(0)); err != nil {
		t.Fatalf("register from the same port: %v", err)
	}
	p.serve(named("new"))
	b.served("new")
}

func TestUnregisterLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	release := make(chan struct{})
	p := b.connect(0, 0, func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) {
		respond(st, "200")
		_, _ = st.Write([]byte("begin "))
		<-release
		_, _ = st.Write([]byte("end"))
		end(st)
	})
	resp, err := b.client.Get(b.PublicURL() + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := p.reg.Unregister(t.Context()); err != nil {
		t.Fatalf("Unregister: %v", err)
	}
	if r, _ := b.get("/"); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a new request after unregister: %d", r.StatusCode)
	}
	close(release)
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "begin end" {
		t.Errorf("running request: %q, %v", body, err)
	}
	if p.sess.Context().Err() != nil {
		t.Error("the edge closed a session that only unregistered")
	}
}

func TestLocalConfiguration(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	p := b.connect(0, 0, origin)
	q := b.connect(1, 1, origin)
	doc := `{"ingress":[{"service":"http://localhost:80"}]}`
	if err := p.reg.UpdateLocalConfiguration(t.Context(), []byte(doc)); err != nil {
		t.Fatalf("UpdateLocalConfiguration: %v", err)
	}
	if err := p.reg.UpdateLocalConfiguration(t.Context(), []byte("{")); err == nil {
		t.Error("a broken configuration was accepted")
	}
	if err := q.reg.UpdateLocalConfiguration(t.Context(), []byte(doc)); err == nil {
		t.Error("index 1 uploaded a configuration")
	}
	list, err := b.admin.ListConnections(t.Context())
	if err != nil || len(list) != 2 || string(list[0].LocalConfig) != doc {
		t.Errorf("ListConnections = %+v, %v", list, err)
	}
}

func TestSessionsWithoutRegistration(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Connectors.RegisterTimeout = 400 * time.Millisecond })
	probeTLS := quic.ClientTLS(b.roots(), false)
	probeTLS.ServerName = "probe.cftunnel.com"
	probe, err := quic.Dial(t.Context(), quic.DialConfig{Edge: b.ConnectorAddrs()[0], TLS: probeTLS, Settings: quic.ConnectorSettings()})
	if err != nil {
		t.Fatalf("probe: %v", err)
	}
	_ = probe.CloseWithError(0, "precheck complete")

	silent := b.dial(0, 0)
	talking := b.dial(0, 0)
	st, err := talking.sess.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reg := rpc.NewRegistrationClient(rpc.StreamConn(st))
	defer func() { _ = reg.Close() }()
	garbage := b.dial(0, 0)
	gst, err := garbage.sess.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = gst.Write([]byte(strings.Repeat("\xff\xfe\x00GET / HTTP/1.1\r\n", 500)))
	for name, p := range map[string]*peer{"silent": silent, "silent on the control stream": talking, "sending garbage": garbage} {
		testkit.Receive(t, "the end of the session of a peer that is "+name, p.sess.Context().Done())
	}
	b.connect(0, 0, named("fine"))
	b.served("fine")
}

func TestGarbageStreamsHarmNobody(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	p := b.connect(0, 0, named("fine"))
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			st, err := p.sess.OpenStream(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = st.Write([]byte("garbage"))
			_, err = st.Read(make([]byte, 1))
			var se *transport.StreamError
			if !errors.As(err, &se) {
				t.Errorf("garbage stream: %v, want a reset", err)
			}
		})
	}
	wg.Wait()
	b.served("fine")
}

func TestTLSNames(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for _, name := range []string{"quic.cftunnel.com", "h2.cftunnel.com", "probe.cftunnel.com"} {
		conf := quic.ClientTLS(b.roots(), true)
		conf.ServerName = name
		s, err := quic.Dial(t.Context(), quic.DialConfig{Edge: b.ConnectorAddrs()[0], TLS: conf, Settings: quic.ConnectorSettings()})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = s.CloseWithError(0, "")
	}
	conf := quic.ClientTLS(b.roots(), false)
	conf.NextProtos = []string{"h3"}
	dial := quic.DialConfig{Edge: b.ConnectorAddrs()[0], TLS: conf, Settings: quic.ConnectorSettings()}
	if s, err := quic.Dial(t.Context(), dial); err == nil {
		_ = s.CloseWithError(0, "")
		t.Error("another protocol name was accepted")
	}
	conn, err := tls.Dial("tcp", strings.TrimPrefix(b.PublicTLSURL(), "https://"), &tls.Config{RootCAs: b.roots(), ServerName: "localhost"})
	if err != nil {
		t.Fatalf("public TLS: %v", err)
	}
	_ = conn.Close()
}

func TestLostConnectionIsRetriedElsewhere(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	var once sync.Once
	dying := func(p *peer, _ *stream.Request, _ io.Reader, st transport.Stream) {
		lost := false
		once.Do(func() {
			lost = true
			p.work.Go(func() { _ = p.sess.CloseWithError(0, "") })
		})
		if !lost {
			respond(st, "200")
			_, _ = st.Write([]byte("ok"))
			end(st)
		}
	}
	b.connect(0, 0, dying)
	b.connect(1, 1, dying)
	if resp, body := b.get("/"); resp.StatusCode != 200 || string(body) != "ok" {
		t.Errorf("GET while a connection dies: %d %q", resp.StatusCode, body)
	}
}

func TestPostIsNotRepeated(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	var mu sync.Mutex
	calls := 0
	dying := func(p *peer, _ *stream.Request, _ io.Reader, _ transport.Stream) {
		mu.Lock()
		calls++
		mu.Unlock()
		p.work.Go(func() { _ = p.sess.CloseWithError(0, "") })
	}
	b.connect(0, 0, dying)
	b.connect(1, 1, dying)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, b.PublicURL()+"/", strings.NewReader("x"))
	if resp, _ := b.do(req); resp.StatusCode != http.StatusBadGateway || resp.Header.Get("Culvert-Error") != "connector_lost" {
		t.Errorf("POST while a connection dies: %d %s", resp.StatusCode, resp.Header.Get("Culvert-Error"))
	}
	mu.Lock()
	defer mu.Unlock()
	if calls != 1 {
		t.Errorf("the request was sent %d times", calls)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	arrived, release := make(chan struct{}), make(chan struct{})
	p := b.connect(0, 0, func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) {
		close(arrived)
		<-release
		respond(st, "200")
		_, _ = st.Write([]byte("done"))
		end(st)
	})
	type result struct {
		body string
		err  error
	}
	got := make(chan result, 1)
	go func() {
		resp, err := b.client.Get(b.PublicURL() + "/")
		if err != nil {
			got <- result{err: err}
			return
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		got <- result{string(body), err}
	}()
	<-arrived
	stopped := make(chan struct{})
	go func() {
		b.stop()
		close(stopped)
	}()
	testkit.Eventually(t, "the edge is stopping", func() bool { return b.Ready() != nil })
	close(release)
	if r := <-got; r.err != nil || r.body != "done" {
		t.Errorf("request during the drain: %+v", r)
	}
	<-stopped
	testkit.Receive(t, "the end of the session after the edge", p.sess.Context().Done())
	if tunnel.ReasonOf(context.Cause(p.sess.Context())) != tunnel.ReasonPeerClosed {
		t.Errorf("session ended with %v", context.Cause(p.sess.Context()))
	}
}
