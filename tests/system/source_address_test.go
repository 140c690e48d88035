//go:build system && linux

package system_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// A UDP server on a wildcard address of a host with several addresses must respond from the address that the client used
// (docs/spec/lifecycle.md 13). The clients of these tests use an address that the kernel would not choose by itself.

const sourcePort = 4433

// wildcards are the ways to listen on every address, and the families that each serves.
func wildcards() map[string][]string {
	return map[string][]string{
		"0.0.0.0": {serverSecond4},
		"[::]":    {serverSecond4, serverSecond6},
	}
}

func asked(ip string) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(ip), sourcePort)
}

func serverTLS(t *testing.T) *tls.Config {
	t.Helper()
	cert, _ := edgeCertificate(t)
	return &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{quic.ALPN}}
}

// listenQUIC runs the listener that the edge uses in the server's namespace; it echoes every stream.
func (h *twoHosts) listenQUIC(t *testing.T, listen string, conf *tls.Config) {
	t.Helper()
	var l *quic.Listener
	h.in(t, h.server, func() (err error) {
		l, err = quic.Listen(quic.ListenConfig{
			Addr: netip.MustParseAddrPort(fmt.Sprintf("%s:%d", listen, sourcePort)), TLS: conf, Settings: quic.EdgeSettings(),
		})
		return err
	})
	t.Cleanup(func() { _ = l.Close() })
	go echoSessions(t.Context(), l)
}

// connected makes a connected socket usable for a QUIC client. It hides what else the socket can do.
type connected struct{ udp *net.UDPConn }

func (c connected) ReadFrom(p []byte) (int, net.Addr, error) {
	n, err := c.udp.Read(p)
	return n, c.udp.RemoteAddr(), err
}
func (c connected) WriteTo(p []byte, _ net.Addr) (int, error) { return c.udp.Write(p) }
func (c connected) Close() error                              { return c.udp.Close() }
func (c connected) LocalAddr() net.Addr                       { return c.udp.LocalAddr() }
func (c connected) SetDeadline(t time.Time) error             { return c.udp.SetDeadline(t) }
func (c connected) SetReadDeadline(t time.Time) error         { return c.udp.SetReadDeadline(t) }
func (c connected) SetWriteDeadline(t time.Time) error        { return c.udp.SetWriteDeadline(t) }

// strictDial opens a QUIC session that accepts packets only from the address that it dialled.
func strictDial(t *testing.T, c *net.UDPConn, timeout time.Duration) (*quicgo.Conn, error) {
	t.Helper()
	return quicgo.Dial(
		t.Context(),
		connected{c},
		c.RemoteAddr(),
		&tls.Config{InsecureSkipVerify: true, NextProtos: []string{quic.ALPN}}, // the certificate is not under test
		&quicgo.Config{HandshakeIdleTimeout: timeout},
	)
}

// echoBytes sends n bytes over a stream and reads them back.
func echoBytes(conn *quicgo.Conn, n int) error {
	st, err := conn.OpenStream()
	if err != nil {
		return err
	}
	want := bytes.Repeat([]byte("culvert "), n/8)
	go func() {
		_, _ = st.Write(want) // the reader sees what is missing
		_ = st.Close()
	}()
	got, err := io.ReadAll(st)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%d bytes came back of %d", len(got), len(want))
	}
	return nil
}

// TestQUICListenerRespondsFromTheDialledAddress checks the listener that the edge uses, packet by packet: handshake and
// data, version negotiation, stateless reset.
func TestQUICListenerRespondsFromTheDialledAddress(t *testing.T) {
	h := newTwoHosts(t)
	conf := serverTLS(t)
	for listen, ips := range wildcards() {
		t.Run(listen, func(t *testing.T) {
			h.listenQUIC(t, listen, conf)
			for _, ip := range ips {
				c := h.capture(t)
				conn, err := strictDial(t, h.dial(t, asked(ip)), patience)
				if err != nil {
					t.Fatalf("dial %s: %v", ip, err)
				}
				if err := echoBytes(conn, 1<<20); err != nil {
					t.Errorf("echo through %s: %v", ip, err)
				}
				_ = conn.CloseWithError(0, "")
				c.wantOnly(t, "handshake and data", asked(ip))

				unknown := append([]byte{0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8}, bytes.Repeat([]byte{7}, 1250)...)
				unknown[14] = 8 // the length of the second connection id
				if got := exchange(t, h.dial(t, asked(ip)), unknown); len(got) < 5 || !bytes.Equal(got[1:5], make([]byte, 4)) {
					t.Errorf("%s: the response to an unknown version is not a version negotiation: %x", ip, got)
				}
				c.wantOnly(t, "version negotiation", asked(ip))

				forgotten := append([]byte{0x40}, bytes.Repeat([]byte{9}, 200)...)
				if got := exchange(t, h.dial(t, asked(ip)), forgotten); got[0]&0x80 != 0 {
					t.Errorf("%s: the response to an unknown connection is not a stateless reset: %x", ip, got)
				}
				c.wantOnly(t, "stateless reset", asked(ip))
			}
		})
	}
}

// TestSourceAddressOnAsymmetricRoutes checks packets that arrive over one cable while the route back is another one.
func TestSourceAddressOnAsymmetricRoutes(t *testing.T) {
	h := newTwoHosts(t)
	h.asymmetric(t)
	conf := serverTLS(t)
	far := map[string][2]string{"v4": {clientFar4, serviceFar4}, "v6": {clientFar6, serviceFar6}}
	for listen, families := range map[string][]string{"0.0.0.0": {"v4"}, "[::]": {"v4", "v6"}} {
		t.Run(listen, func(t *testing.T) {
			h.listenQUIC(t, listen, conf)
			for _, family := range families {
				from, to := net.ParseIP(far[family][0]), asked(far[family][1])
				c := h.capture(t)
				conn, err := strictDial(t, h.dialFrom(t, &net.UDPAddr{IP: from}, to), patience)
				if err != nil {
					t.Fatalf("dial %s from %s: %v", to, from, err)
				}
				if err := echoBytes(conn, 1<<20); err != nil {
					t.Errorf("echo through %s: %v", to, err)
				}
				_ = conn.CloseWithError(0, "")
				c.wantOnly(t, "handshake and data", to)
			}
		})
	}
}

// echoSessions echoes every stream of every session.
func echoSessions(ctx context.Context, l *quic.Listener) {
	for {
		s, err := l.Accept(ctx)
		if err != nil {
			return
		}
		go func() {
			st, err := s.AcceptStream(ctx)
			if err != nil {
				return
			}
			_, _ = io.Copy(struct{ io.Writer }{st}, st)
			_ = st.CloseWrite()
		}()
	}
}

// wrapped hides from the library what the socket can do.
type wrapped struct{ net.PacketConn }

// TestWrongSourceAddressIsDetected has the negative controls: a plain echo server and a QUIC server whose socket is wrapped
// respond from the wrong address, and a strict client cannot connect.
func TestWrongSourceAddressIsDetected(t *testing.T) {
	h := newTwoHosts(t)
	for _, ip := range []string{serverSecond4, serverSecond6} {
		t.Run("plain echo "+ip, func(t *testing.T) {
			udp := h.listenAll(t)
			go func() {
				buf := make([]byte, 2048)
				for {
					n, from, err := udp.ReadFrom(buf)
					if err != nil {
						return
					}
					_, _ = udp.WriteTo(buf[:n], from)
				}
			}()
			c := h.capture(t)
			client := h.dial(t, asked(ip))
			if _, err := client.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			if err := client.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			if n, err := client.Read(make([]byte, 100)); err == nil {
				t.Errorf("the strict client got %d bytes", n)
			}
			c.wantOther(t, "plain echo", asked(ip))
		})
		t.Run("wrapped socket "+ip, func(t *testing.T) {
			udp := h.listenAll(t)
			l, err := quicgo.Listen(wrapped{udp}, serverTLS(t), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			c := h.capture(t)
			if _, err := strictDial(t, h.dial(t, asked(ip)), time.Second); err == nil {
				t.Error("the strict client got through")
			} else {
				t.Logf("strict client: %v", err)
			}
			c.wantOther(t, "wrapped socket", asked(ip))
		})
	}
}

// listenAll is a socket of the server on every address.
func (h *twoHosts) listenAll(t *testing.T) *net.UDPConn {
	t.Helper()
	var udp *net.UDPConn
	h.in(t, h.server, func() (err error) {
		udp, err = net.ListenUDP("udp", &net.UDPAddr{Port: sourcePort})
		return err
	})
	t.Cleanup(func() { _ = udp.Close() })
	return udp
}

// remoteEdge is an edge on the server; its connectors are on the client.
type remoteEdge struct {
	hosts       *twoHosts
	data, token string
	admin       *adminclient.Client
}

const remotePublic = 8080

func (h *twoHosts) startEdge(t *testing.T, listen string, env ...string) *remoteEdge {
	t.Helper()
	e := &remoteEdge{hosts: h, data: t.TempDir()}
	path, args := h.command(t, h.server, harness.Binary(t, "edge"))
	harness.Start(t, append([]string{
		"CULVERT_DATA_DIR=" + e.data, fmt.Sprintf("CULVERT_CONNECTORS_LISTEN=%[1]s:%[2]d,%[1]s:%[3]d", listen, sourcePort, sourcePort+1),
		fmt.Sprintf("CULVERT_PUBLIC_HTTP=%s:%d", listen, remotePublic), "CULVERT_OPS_LISTEN=127.0.0.1:0",
		"CULVERT_BOOTSTRAP_TUNNEL=peer", "CULVERT_BOOTSTRAP_ROUTES=*", "CULVERT_BOOTSTRAP_TOKEN_FILE=" + filepath.Join(e.data, "token"),
	}, env...), path, args...)
	testkit.Retry(t, "edge", patience, func() error {
		b, err := os.ReadFile(filepath.Join(e.data, "token"))
		if err != nil {
			return err
		}
		e.token = strings.TrimSpace(string(b))
		_, err = os.Stat(filepath.Join(e.data, "admin.sock"))
		return err
	})
	var err error
	if e.admin, err = adminclient.Dial("unix:"+filepath.Join(e.data, "admin.sock"), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.admin.Close)
	return e
}

// connect runs a connector that dials the server's second address.
func (e *remoteEdge) connect(t *testing.T, connector, ip string) *harness.Program {
	t.Helper()
	path, args := e.hosts.command(
		t,
		e.hosts.client,
		connector,
		"tunnel",
		"--no-autoupdate",
		"--protocol",
		"quic",
		"--cacert",
		filepath.Join(e.data, "ca.pem"),
		"--grace-period",
		"1s",
		"--ha-connections",
		"1",
		"--metrics",
		"127.0.0.1:0",
		"--hello-world",
		"--edge",
		asked(ip).String(),
		"--edge",
		netip.AddrPortFrom(asked(ip).Addr(), sourcePort+1).String(),
		"run",
	)
	p := harness.Start(t, []string{"TUNNEL_TOKEN=" + e.token}, path, args...)
	testkit.Retry(t, "a connection", patience, func() error {
		list, err := e.admin.ListConnections(t.Context())
		if err != nil {
			return err
		}
		for _, c := range list {
			if c.State == "active" {
				return nil
			}
		}
		return errors.New("none")
	})
	return p
}

// get sends a request from the client's host to the edge's public address.
func (e *remoteEdge) get(t *testing.T, ip string) {
	t.Helper()
	client := &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			e.hosts.in(t, e.hosts.client, func() error {
				c, err = net.Dial(network, addr)
				return err
			})
			return c, err
		}},
	}
	resp, err := client.Get("http://" + netip.AddrPortFrom(netip.MustParseAddr(ip), remotePublic).String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("through the tunnel: %s, %d bytes, %v", resp.Status, n, err)
	}
}

// TestEdgeRespondsToConnectorsFromTheDialledAddress runs the edge and connectors of both makes as processes on two hosts.
func TestEdgeRespondsToConnectorsFromTheDialledAddress(t *testing.T) {
	h := newTwoHosts(t)
	for _, name := range []string{"culvert", "cloudflared"} {
		for listen, ips := range wildcards() {
			for _, ip := range ips {
				t.Run(name+" to "+ip+" on "+listen, func(t *testing.T) {
					connector := os.Getenv(harness.PeerVariable)
					if name == "culvert" {
						connector = harness.Binary(t, "culvert")
					} else if connector == "" {
						t.Skipf("%s is not set to the path of a cloudflared binary", harness.PeerVariable)
					}
					e := h.startEdge(t, listen)
					c := h.capture(t)
					e.connect(t, connector, ip)
					e.get(t, ip)
					sources := c.sources(t, sourcePort, sourcePort+1)
					t.Logf("packets came from %v", sources)
					if len(sources) != 1 || sources[netip.MustParseAddr(ip)] == 0 {
						t.Errorf("packets came from %v, want from %s alone", sources, ip)
					}
				})
			}
		}
	}
}

// TestNameServerRespondsFromTheQueriedAddress queries the edge's own name server over plain UDP.
func TestNameServerRespondsFromTheQueriedAddress(t *testing.T) {
	h := newTwoHosts(t)
	for listen, ips := range wildcards() {
		t.Run(listen, func(t *testing.T) {
			h.startEdge(t, listen, fmt.Sprintf("CULVERT_DNS_LISTEN=%s:%d", listen, sourcePort+2))
			for _, ip := range ips {
				to := netip.AddrPortFrom(netip.MustParseAddr(ip), sourcePort+2)
				c := h.capture(t)
				question := "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06tunnel\x08internal\x00\x00\x06\x00\x01" // SOA
				if got := exchange(t, h.dial(t, to), []byte(question)); len(got) < 12 || string(got[:2]) != question[:2] {
					t.Errorf("%s: response %x", ip, got)
				}
				c.wantOnly(t, "name server", to)
			}
		})
	}
}

// TestUDPPortRespondsFromTheQueriedAddress sends datagrams through public ports to an origin on the connector's host.
func TestUDPPortRespondsFromTheQueriedAddress(t *testing.T) {
	h := newTwoHosts(t)
	var origin *net.UDPConn
	h.in(t, h.client, func() (err error) {
		origin, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		return err
	})
	defer origin.Close()
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := origin.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = origin.WriteTo(buf[:n], from)
		}
	}()
	e := h.startEdge(t, "[::]")
	e.connect(t, harness.Binary(t, "culvert"), serverSecond4)
	for name, ips := range map[string][]string{
		"udp://:4440": {serverFirst4, serverSecond4, serverFirst6, serverSecond6}, "udp://0.0.0.0:4441": {serverSecond4},
		"udp://[::]:4442":                  {serverSecond4, serverSecond6},
		"udp://" + serverSecond4 + ":4443": {serverSecond4}, "udp://[" + serverSecond6 + "]:4444": {serverSecond6},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := e.admin.AddPort(t.Context(), name, "peer", adminclient.PortTarget{To: origin.LocalAddr().String()})
			if err != nil {
				t.Fatal(err)
			}
			for _, ip := range ips {
				to := netip.AddrPortFrom(netip.MustParseAddr(ip), netip.MustParseAddrPort(r.Bound).Port())
				c := h.capture(t)
				if got := exchange(t, h.dial(t, to), []byte("hello")); string(got) != "hello" {
					t.Errorf("%s: %q", to, got)
				}
				c.wantOnly(t, name, to)
			}
		})
	}
}
