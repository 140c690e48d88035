package h2_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/netip"
	"testing"

	"go.uber.org/goleak"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// certificate returns a certificate for a server name, and the pool that trusts it.
func certificate(t testing.TB, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	ca := testkit.NewCA(t)
	return ca.Issue(t, name), ca.Pool()
}

func listen(t testing.TB, name string, settings h2.Settings) (*h2.Listener, *x509.CertPool) {
	t.Helper()
	cert, pool := certificate(t, name)
	l, err := h2.Listen(h2.ListenConfig{
		Addr: netip.MustParseAddrPort("127.0.0.1:0"), TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, Settings: settings,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close listener: %v", err)
		}
	})
	return l, pool
}

// sessions makes a connector's session and the edge's end of it; change may alter the configuration before.
func sessions(t testing.TB, change func(d *h2.DialConfig, edge *h2.Settings)) (connector, edge *h2.Session) {
	t.Helper()
	settings := h2.EdgeSettings()
	d := h2.DialConfig{Settings: h2.ConnectorSettings()}
	if change != nil {
		change(&d, &settings)
	}
	l, pool := listen(t, h2.ServerName, settings)
	d.Edge, d.TLS = l.Addr(), h2.ClientTLS(pool, false)
	connector, err := h2.Dial(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connector.CloseWithError(0, "") })
	edge, err = l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = edge.CloseWithError(0, "") })
	return connector, edge
}

// control gives both ends of the control stream.
func control(t testing.TB, connector, edge *h2.Session) (near, far transport.Stream) {
	t.Helper()
	near, err := connector.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	far, err = edge.AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return near, far
}

// readRequest reads a whole ConnectRequest, and gives the bytes that were read beyond it.
func readRequest(r io.Reader) (req stream.Request, rest []byte, err error) {
	rest, err = readHead(r, func(b []byte) (int, error) { return stream.ParseRequest(b, &req) })
	return req, rest, err
}

func readResponse(r io.Reader) (resp stream.Response, rest []byte, err error) {
	rest, err = readHead(r, func(b []byte) (int, error) { return stream.ParseResponse(b, &resp) })
	return resp, rest, err
}

func readHead(r io.Reader, parse func(b []byte) (int, error)) (rest []byte, err error) {
	var have []byte
	buf := make([]byte, 16<<10)
	for {
		n, rerr := r.Read(buf)
		have = append(have, buf[:n]...)
		used, perr := parse(have)
		switch {
		case perr == nil:
			return have[used:], nil
		case !errors.Is(perr, stream.ErrShort):
			return nil, perr
		case rerr != nil:
			return nil, rerr
		}
	}
}

func send(t testing.TB, w io.Writer, m interface {
	Append(dst []byte) ([]byte, error)
}, body string,
) {
	t.Helper()
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.Write(append(b, body...)); err != nil || n != len(b)+len(body) {
		t.Fatalf("write = %d, %v", n, err)
	}
}

// exchange opens a stream with req, and gives both ends and the request as the connector reads it.
func exchange(
	t testing.TB,
	connector, edge *h2.Session,
	req stream.Request,
	body string,
) (near, far transport.Stream, got stream.Request, rest []byte) {
	t.Helper()
	far, err := edge.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	send(t, far, &req, body)
	near, err = connector.AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, rest, err = readRequest(near)
	if err != nil {
		t.Fatal(err)
	}
	return near, far, got, rest
}
