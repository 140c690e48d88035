package edge_test

import (
	"context"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
)

func TestMain(m *testing.M) { testkit.VerifyMain(m) }

// bench is one running edge with a tunnel "demo" and a route for every host.
type bench struct {
	*edge.Service
	t      *testing.T
	admin  *adminclient.Client
	creds  tunnel.Credentials
	client *http.Client
	stop   func()
	// files are what the process watches; SIGHUP calls Check.
	files *filewatch.Watcher
	// metrics are those of the edge.
	metrics *prometheus.Registry
}

func testConfig(t *testing.T) edge.Config {
	t.Helper()
	cfg := edge.Default()
	cfg.DataDir = filepath.Join(t.TempDir(), "edge")
	cfg.Connectors.Listen = []netip.AddrPort{testkit.Loopback(0), testkit.Loopback(0)}
	cfg.Public.HTTP, cfg.Public.HTTPS = testkit.Loopback(0), testkit.Loopback(0)
	cfg.DNS.Listen = testkit.Loopback(0)
	cfg.Bootstrap.Tunnel, cfg.Bootstrap.Routes = "demo", []string{"*"}
	return cfg
}

func start(t *testing.T, change func(*edge.Config)) *bench {
	t.Helper()
	return startWith(t, change, logger())
}

// lockedBuffer is a buffer for the log of an edge.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func startWith(t *testing.T, change func(*edge.Config), log *slog.Logger) *bench {
	t.Helper()
	cfg := testConfig(t)
	if change != nil {
		change(&cfg)
	}
	files := process.NewFiles(log)
	metrics := prometheus.NewRegistry()
	runner, err := edge.Build(t.Context(), process.Env{Logger: log, Registerer: metrics, Files: files}, cfg)
	if err != nil {
		t.Fatalf("Build: %v", err)
	}
	svc := runner.(*edge.Service)
	b := &bench{Service: svc, t: t, files: files, metrics: metrics}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		if b.client != nil {
			b.client.CloseIdleConnections()
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(b.stop)
	if b.admin, err = adminclient.Dial("unix:"+svc.AdminSocket(), nil); err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(b.admin.Close)
	b.creds, _ = svc.BootstrapCredentials()
	b.client = &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}}
	t.Cleanup(b.client.CloseIdleConnections)
	testkit.Eventually(t, "the edge is ready", func() bool { return svc.Ready() == nil })
	return b
}

func logger() *slog.Logger {
	if os.Getenv("EDGE_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

func (b *bench) roots() *x509.CertPool {
	b.t.Helper()
	pem, err := os.ReadFile(b.CACertPath())
	if err != nil {
		b.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		b.t.Fatal("the CA file holds no certificate")
	}
	return pool
}

// connections counts the connections in a state.
func (b *bench) connections(state string) int {
	b.t.Helper()
	list, err := b.admin.ListConnections(b.t.Context())
	if err != nil {
		b.t.Fatalf("ListConnections: %v", err)
	}
	n := 0
	for _, c := range list {
		if c.State == state {
			n++
		}
	}
	return n
}

// peer is the session of a connector, which may not be registered yet.
type peer struct {
	t    *testing.T
	sess transport.Session
	reg  *rpc.RegistrationClient
	work sync.WaitGroup
}

// overHTTP2 reports whether the peers of a test speak HTTP/2: those of the subtests of TestOverHTTP2 do.
func (b *bench) overHTTP2() bool { return strings.HasPrefix(b.t.Name(), "TestOverHTTP2/") }

// script serves one request stream; body is the rest of the stream after the head of the request.
type script func(p *peer, req *stream.Request, body io.Reader, st transport.Stream)

func (b *bench) dial(listener int, localPort uint16) *peer {
	b.t.Helper()
	return b.dialTo(b.ConnectorAddrs()[listener], localPort)
}

func (b *bench) dialTo(addr netip.AddrPort, localPort uint16) *peer {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), testkit.Patience)
	defer cancel()
	var (
		sess transport.Session
		err  error
	)
	if b.overHTTP2() {
		sess, err = h2.Dial(ctx, h2.DialConfig{
			Edge: addr, TLS: h2.ClientTLS(b.roots(), false), Settings: h2.ConnectorSettings(),
		})
	} else {
		sess, err = quic.Dial(ctx, quic.DialConfig{
			Edge: addr, LocalPort: localPort,
			TLS: quic.ClientTLS(b.roots(), false), Settings: patientSettings(),
		})
	}
	if err != nil {
		b.t.Fatalf("dial: %v", err)
	}
	p := &peer{t: b.t, sess: sess}
	b.t.Cleanup(p.close)
	return p
}

// patientSettings are those of a connector whose handshake may take as long as any other step of a test: five seconds were too few beside
// a load of ten processes for each core.
func patientSettings() quic.Settings {
	s := quic.ConnectorSettings()
	s.HandshakeTimeout = testkit.Patience
	return s
}

func (p *peer) close() {
	if p.reg != nil {
		_ = p.reg.Close()
	}
	_ = p.sess.CloseWithError(0, "")
	p.work.Wait()
}

// register opens the control stream if it is not open yet, and registers.
func (p *peer) register(req rpc.RegisterRequest) (rpc.ConnectionDetails, error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), testkit.Patience)
	defer cancel()
	if p.reg == nil {
		st, err := p.sess.OpenStream(ctx)
		if err != nil {
			p.t.Fatalf("control stream: %v", err)
		}
		p.reg = rpc.NewRegistrationClient(rpc.StreamConn(st))
	}
	details, err := p.reg.Register(ctx, req)
	if admitted, ok := p.sess.(transport.Probation); ok && err == nil {
		admitted.Admit()
	}
	return details, err
}

func (b *bench) request(index tunnel.ConnIndex, features ...string) rpc.RegisterRequest {
	return rpc.RegisterRequest{
		Auth: b.creds, TunnelID: b.creds.TunnelID, Index: index,
		Options: rpc.Options{ConnectorID: tunnel.ConnectorID{7}, Features: features, Version: "test", Arch: "none"},
	}
}

// connect dials, registers and serves with a script.
func (b *bench) connect(listener int, index tunnel.ConnIndex, s script, features ...string) *peer {
	b.t.Helper()
	p := b.dial(listener, 0)
	if _, err := p.register(b.request(index, features...)); err != nil {
		b.t.Fatalf("register: %v", err)
	}
	p.serve(s)
	return p
}

func (p *peer) serve(s script) {
	p.work.Go(func() {
		for {
			st, err := p.sess.AcceptStream(context.Background())
			if err != nil {
				return
			}
			p.work.Go(func() { p.handle(st, s) })
		}
	})
}

func (p *peer) handle(st transport.Stream, s script) {
	var req stream.Request
	buf := make([]byte, 0, 64<<10)
	for {
		buf = slices.Grow(buf, 1)
		n, err := st.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		used, perr := stream.ParseRequest(buf, &req)
		if perr == nil {
			body := &rest{head: buf[used:], st: st, err: err}
			s(p, &req, body, st)
			return
		}
		if err != nil {
			st.CancelWrite(0)
			return
		}
	}
}

// rest reads the bytes that came with the head, then the stream.
type rest struct {
	head []byte
	st   transport.Stream
	err  error
}

func (r *rest) Read(p []byte) (int, error) {
	if len(r.head) > 0 {
		n := copy(p, r.head)
		r.head = r.head[n:]
		return n, nil
	}
	if r.err != nil {
		return 0, r.err
	}
	return r.st.Read(p)
}

// header returns the values of a field of a request.
func header(req *stream.Request, name string) []string {
	var out []string
	for _, p := range req.Metadata {
		if p.Key == stream.HeaderPrefix+name {
			out = append(out, p.Val)
		}
	}
	return out
}

// respond writes the head of a response; fields are names and values in turn.
func respond(st transport.Stream, status string, fields ...string) {
	resp := stream.Response{Metadata: []stream.Pair{{Key: stream.KeyStatus, Val: status}}}
	for i := 0; i < len(fields); i += 2 {
		resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.HeaderPrefix + fields[i], Val: fields[i+1]})
	}
	send(st, &resp)
}

func send(st transport.Stream, resp *stream.Response) {
	b, err := resp.Append(nil)
	if err != nil {
		panic(err) // a wrong head in a test
	}
	_, _ = st.Write(b) // the edge may be gone, which the test sees elsewhere
}

// end finishes a stream as connectors do: stop reading, then FIN.
func end(st transport.Stream) {
	st.CancelRead(0)
	_ = st.CloseWrite()
}
