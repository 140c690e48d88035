package proxy_test

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/linktest"
	"github.com/culvert-tunnel/culvert/pkg/link/packet"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/services/proxy"
)

// carriers are the two ways from a worker to the proxy.
func carriers(t *testing.T) map[string]func(*proxy.Config) func(*running) link.Carrier {
	socket := "unix:" + filepath.Join(t.TempDir(), "p.sock")
	return map[string]func(*proxy.Config) func(*running) link.Carrier{
		"direct": func(*proxy.Config) func(*running) link.Carrier {
			return func(r *running) link.Carrier { return link.NewDirect(r.svc.Handler()) }
		},
		"link": func(cfg *proxy.Config) func(*running) link.Carrier {
			cfg.Listen = []string{socket}
			return func(r *running) link.Carrier {
				b := link.NewBalancer(link.BalancerConfig{})
				b.SetProxies([]link.Proxy{{ID: tunnel.ProxyID("p"), Endpoint: r.svc.Endpoints()[0]}})
				t.Cleanup(func() { b.Close() })
				return b
			}
		},
	}
}

// datagrams is a worker's end of a datagram flow.
type datagrams struct {
	t      *testing.T
	v      *linktest.Visitor
	reader packet.Reader
	crash  context.CancelFunc
	done   chan error
}

func openDatagrams(t *testing.T, c link.Carrier) *datagrams {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	v, edge := linktest.NewVisitor()
	d := &datagrams{t: t, v: v, crash: cancel, done: make(chan error, 1)}
	meta := link.Meta{Kind: link.KindDatagrams, Tunnel: tunnel.ID{1}, Connector: tunnel.ConnectorID{2}}
	go func() { d.done <- c.Carry(ctx, link.Flow{Meta: meta, Stream: edge}) }()
	t.Cleanup(cancel)
	return d
}

func (d *datagrams) send(m packet.Message) {
	d.t.Helper()
	b, err := m.Append(nil)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := d.v.Write(b); err != nil {
		d.t.Fatalf("flow: %v", err)
	}
}

func (d *datagrams) next() (m packet.Message) {
	d.t.Helper()
	for {
		if ok, err := d.reader.Next(&m); err != nil {
			d.t.Fatal(err)
		} else if ok {
			return m
		}
		n, err := d.v.Read(d.reader.Space())
		d.reader.Add(n)
		if err != nil {
			d.t.Fatalf("flow: %v", err)
		}
	}
}

// ask registers a session with a first payload and gives the response to that.
func (d *datagrams) ask(dest netip.AddrPort, data []byte) []byte {
	d.t.Helper()
	id := datagram.ID{7}
	d.send(packet.Message{Type: packet.Register, ID: id, Dest: dest, WantResult: true, Data: data})
	if m := d.next(); m.Type != packet.Registered || m.ID != id || m.Result != datagram.ResultOK {
		d.t.Fatalf("registration: type %d, %s %q", m.Type, m.Result, m.Text)
	}
	m := d.next()
	if m.Type != packet.Payload || m.ID != id {
		d.t.Fatalf("response: type %d %q", m.Type, m.Text)
	}
	return bytes.Clone(m.Data)
}

// peerOrigin responses with the address it was asked from.
func peerOrigin(t *testing.T) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { c.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			_, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			c.WriteTo([]byte(from.String()), from)
		}
	}()
	return netip.MustParseAddrPort(c.LocalAddr().String())
}

func TestUDPSessionSurvivesItsWorker(t *testing.T) {
	for name, prepare := range carriers(t) {
		t.Run(name, func(t *testing.T) {
			cfg := proxy.Default()
			carrier := prepare(&cfg)
			r := run(t, cfg, proxy.Deps{Rules: helloRules(t), Registerer: prometheus.NewRegistry()})
			origin := peerOrigin(t)
			first := openDatagrams(t, carrier(r))
			port := first.ask(origin, []byte("one"))
			first.crash()
			if err := <-first.done; err == nil {
				t.Error("Carry of a crashed worker gave no error")
			}
			second := openDatagrams(t, carrier(r))
			if got := second.ask(origin, []byte("two")); !bytes.Equal(got, port) {
				t.Errorf("source is %s, was %s", got, port)
			}
			r.cancel() // a session must not hold up the drain
			if n, err := second.v.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("draining proxy: %d bytes, %v, want the end of the flow", n, err)
			}
			second.v.CloseWrite()
			<-second.done
			r.stop()
		})
	}
}

func TestVirtualDNSServiceAsksTheResolver(t *testing.T) {
	path, err := exec.LookPath("dnsmasq")
	if err != nil {
		t.Skip("dnsmasq is not installed")
	}
	// A port that was free a moment ago.
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(c.LocalAddr().String())
	c.Close()
	cmd := exec.CommandContext(t.Context(), path, "--keep-in-foreground", "--no-hosts", "--no-resolv", "--conf-file=/dev/null",
		"--bind-interfaces", "--listen-address=127.0.0.1", "--port="+strconv.Itoa(int(addr.Port())), "--pid-file=", "--user=root",
		"--address=/origin.test/192.0.2.77")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	testkit.Eventually(t, "dnsmasq listens", func() bool {
		c, err := net.Dial("tcp", addr.String())
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	cfg := proxy.Default()
	cfg.Private.DNS.ResolverAddrs = []string{addr.String()}
	r := run(t, cfg, proxy.Deps{Rules: helloRules(t)})
	d := openDatagrams(t, link.NewDirect(r.svc.Handler()))
	query := "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + "\x06origin\x04test\x00" + "\x00\x01\x00\x01"
	response := d.ask(netip.MustParseAddrPort("[2606:4700:cf1:2000::1]:53"), []byte(query))
	if !strings.HasPrefix(string(response), query[:2]) || !bytes.HasSuffix(response, []byte{0, 4, 192, 0, 2, 77}) {
		t.Errorf("response %x does not hold 192.0.2.77\n%s", response, &log)
	}
	d.v.CloseWrite()
	if err := <-d.done; err == nil {
		d.v.Leave()
	}
	r.stop()
}
