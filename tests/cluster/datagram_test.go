package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
	"github.com/culvert-tunnel/culvert/services/proxy"
)

// system is a cluster with the real edge and real proxies.
type system struct {
	*cluster
	edge  *edge.Service
	admin *adminclient.Client
}

func newSystem(t *testing.T, datagrams string) *system {
	t.Helper()
	c := newCluster(t, 0)
	c.features = []string{datagrams}
	cfg := edge.Default()
	cfg.DataDir = filepath.Join(t.TempDir(), "edge")
	cfg.Connectors.Listen = nil
	for range 6 {
		cfg.Connectors.Listen = append(cfg.Connectors.Listen, netip.MustParseAddrPort("127.0.0.1:0"))
	}
	cfg.Public.HTTP = netip.MustParseAddrPort("127.0.0.1:0")
	cfg.Bootstrap.Tunnel = "demo"
	svc, err := edge.New(cfg, edge.Deps{Logger: c.logger(), Registerer: c.counters("edge")})
	if err != nil {
		t.Fatal(err)
	}
	s := &system{cluster: c, edge: svc}
	c.run(&part{}, svc.Run)
	c.eventually("the edge is ready", func() bool { return svc.Ready() == nil })
	if s.admin, err = adminclient.Dial("unix:"+svc.AdminSocket(), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.admin.Close)
	c.cred, _ = svc.BootstrapCredentials()
	c.net.caFile = svc.CACertPath()
	c.net.pool.Regions = []edgepool.RegionPool{{Name: "region1"}, {Name: "region2"}}
	for i, a := range svc.ConnectorAddrs() {
		c.net.pool.Regions[i%2].V4 = append(c.net.pool.Regions[i%2].V4, a)
	}
	c.publish()
	return s
}

// proxy runs a proxy and registers it in the store.
func (s *system) proxy(id string) *part {
	s.t.Helper()
	return s.proxyWith(id, func(*proxy.Config) {})
}

// proxyWith runs a proxy with changes to its settings.
func (s *system) proxyWith(id string, change func(*proxy.Config)) *part {
	s.t.Helper()
	dir, err := os.MkdirTemp("", "link") // t.TempDir is too long for the path of a socket
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cfg := proxy.Default()
	cfg.ID, cfg.Listen = id, []string{"unix:" + filepath.Join(dir, "s")}
	change(&cfg)
	p := &part{cable: &cable{Store: s.store}}
	svc, err := proxy.New(cfg, proxy.Deps{Store: p.cable, Logger: s.logger(), Version: "test", Registerer: s.counters(id)})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.run(p, svc.Run)
}

// workerOf runs a worker that finds its proxies in the store.
func (s *system) workerOf(id string) *part {
	return s.workerWith(&part{cable: &cable{Store: s.store}}, id, nil)
}

// connected waits until every slot has one active connection at the edge.
func (s *system) connected(slots int) {
	s.t.Helper()
	s.eventually("all slots are connected", func() bool {
		held := 0
		for _, n := range s.holders() {
			held += n
		}
		list, err := s.admin.ListConnections(s.t.Context())
		active := map[tunnel.ConnIndex]bool{}
		for _, c := range list {
			if c.State == "active" {
				active[c.ConnIndex] = true
			}
		}
		return err == nil && held == slots && len(active) == slots
	})
}

// udpOrigin echoes datagrams and counts them by sender.
type udpOrigin struct {
	conn net.PacketConn

	mu      sync.Mutex
	senders map[string]int
}

func newUDPOrigin(t *testing.T) *udpOrigin {
	t.Helper()
	conn := testkit.ListenUDP(t)
	o := &udpOrigin{conn: conn, senders: map[string]int{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 64<<10)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			o.mu.Lock()
			o.senders[from.String()]++
			o.mu.Unlock()
			_, _ = conn.WriteTo(b[:n], from) // the visitor notices a lost response
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return o
}

// sources lists the addresses that sent datagrams to the origin.
func (o *udpOrigin) sources() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []string
	for p := range o.senders {
		out = append(out, p)
	}
	return out
}

// visitor sends numbered datagrams to a public port, each after the response to the previous one or after responseTime.
type visitor struct {
	t    *testing.T
	conn net.Conn

	mu       sync.Mutex
	sent     uint32
	received map[uint32]bool // numbers of the responses
}

// visit opens a public port to the origin and a visitor of it.
func (s *system) visit(o *udpOrigin) *visitor {
	s.t.Helper()
	r, err := s.admin.AddPort(s.t.Context(), "udp://127.0.0.1:0", "demo", adminclient.PortTarget{To: o.conn.LocalAddr().String()})
	if err != nil {
		s.t.Fatal(err)
	}
	var d net.Dialer
	conn, err := d.DialContext(s.t.Context(), "udp", strings.TrimPrefix(r.Host, "udp://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return &visitor{t: s.t, conn: conn, received: map[uint32]bool{}}
}

// responseTime is how long the visitor waits before it sends the next datagram; a later response counts as well.
const responseTime = 250 * time.Millisecond

// talk runs until ctx ends.
func (v *visitor) talk(ctx context.Context) {
	b := make([]byte, 64)
	for ctx.Err() == nil {
		v.mu.Lock()
		n := v.sent
		v.sent++
		v.mu.Unlock()
		if _, err := v.conn.Write(binary.BigEndian.AppendUint32(nil, n)); err != nil {
			v.t.Errorf("visitor: %v", err)
			return
		}
		if err := v.conn.SetReadDeadline(time.Now().Add(responseTime)); err != nil {
			v.t.Error(err)
			return
		}
		for {
			m, err := v.conn.Read(b)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil || m != 4 {
				v.t.Errorf("visitor: %d bytes, %v", m, err)
				return
			}
			got := binary.BigEndian.Uint32(b)
			v.mu.Lock()
			v.received[got] = true
			v.mu.Unlock()
			if got == n {
				break
			}
		}
	}
}

func (v *visitor) counts() (sent, received int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return int(v.sent), len(v.received)
}

// goesOn waits until the visitor has received a number of further responses.
func (s *system) goesOn(v *visitor, more int) {
	s.t.Helper()
	sent, before := v.counts()
	defer func() {
		if s.t.Failed() {
			nowSent, now := v.counts()
			s.t.Logf("since then %d datagrams sent, %d responses received, want %d", nowSent-sent, now-before, more)
			s.logCounters("udp", "datagram")
		}
	}()
	s.eventually("the visitor receives responses", func() bool { _, n := v.counts(); return n >= before+more })
}

func (s *system) start(v *visitor) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		v.talk(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	s.t.Cleanup(stop)
	return stop
}

// TestUDPSessionSurvivesItsWorker kills workers one after the other, so that slots move. The origin sees the same source
// port all the time, and at most the datagram in transit is lost with each worker.
func TestUDPSessionSurvivesItsWorker(t *testing.T) {
	t.Parallel()
	for _, datagrams := range []string{protocol.FeatureDatagramV2, protocol.FeatureDatagramV3} {
		t.Run(datagrams, func(t *testing.T) {
			s := newSystem(t, datagrams)
			s.supervisor()
			s.proxy("p1")
			s.proxy("p2")
			workers := []*part{s.workerOf("w1"), s.workerOf("w2")}
			s.connected(4)
			o := newUDPOrigin(t)
			v := s.visit(o)
			stop := s.start(v)
			s.goesOn(v, 50)
			for i := range 2 {
				workers[i].kill()
				s.goesOn(v, 50)
				if i == 0 {
					workers = append(workers, s.workerOf("w3"))
					s.connected(4)
					s.goesOn(v, 50)
				}
			}
			s.connected(4)
			s.goesOn(v, 50)
			stop()
			sent, received := v.counts()
			t.Logf("%d sent, %d received", sent, received)
			if lost := sent - received; lost > 1+2 { // the last one, and one in transit at each kill
				t.Errorf("%d datagrams lost", lost)
			}
			if ports := o.sources(); len(ports) != 1 {
				t.Errorf("the origin received datagrams from %v", ports)
			}
		})
	}
}

// TestLargeDatagrams sends payloads of up to the largest UDP datagram through a port, and has them back.
func TestLargeDatagrams(t *testing.T) {
	t.Parallel()
	for _, datagrams := range []string{protocol.FeatureDatagramV2, protocol.FeatureDatagramV3} {
		t.Run(datagrams, func(t *testing.T) {
			s := newSystem(t, datagrams)
			s.supervisor()
			s.proxy("p1")
			s.workerOf("w1")
			s.connected(4)
			v := s.visit(newUDPOrigin(t))
			in := make([]byte, 64<<10)
			for _, size := range []int{1, 1280, 1281, 4096, 65507} {
				sent := bytes.Repeat([]byte{byte(size)}, size)
				s.eventually("a datagram comes back", func() bool { // as any datagram, one may be lost
					if _, err := v.conn.Write(sent); err != nil {
						t.Fatal(err)
					}
					if err := v.conn.SetReadDeadline(time.Now().Add(responseTime)); err != nil {
						t.Fatal(err)
					}
					n, err := v.conn.Read(in)
					return err == nil && bytes.Equal(in[:n], sent)
				})
			}
		})
	}
}

// TestUDPSessionMovesWithoutLoss stops a worker gracefully: no datagram is lost.
func TestUDPSessionMovesWithoutLoss(t *testing.T) {
	t.Parallel()
	for _, datagrams := range []string{protocol.FeatureDatagramV2, protocol.FeatureDatagramV3} {
		t.Run(datagrams, func(t *testing.T) {
			s := newSystem(t, datagrams)
			s.supervisor()
			s.proxy("p1")
			first := s.workerOf("w1")
			s.connected(4)
			o := newUDPOrigin(t)
			v := s.visit(o)
			stop := s.start(v)
			s.goesOn(v, 50)
			s.workerOf("w2")
			s.eventually("the slots are spread", func() bool { return s.holders()["w2"] == 2 })
			first.stop()
			s.connected(4)
			s.goesOn(v, 50)
			stop()
			sent, received := v.counts()
			t.Logf("%d sent, %d received", sent, received)
			if lost := sent - received; lost > 1 {
				t.Errorf("%d datagrams lost", lost)
				s.logCounters("udp", "datagram", "connection")
			}
			if ports := o.sources(); len(ports) != 1 {
				t.Errorf("the origin received datagrams from %v", ports)
			}
		})
	}
}

// TestUDPSessionOutlivesItsProxy stops a proxy: the worker moves the session to another proxy, which uses another source
// port, and the edge keeps the flow.
func TestUDPSessionOutlivesItsProxy(t *testing.T) {
	s := newSystem(t, protocol.FeatureDatagramV3)
	s.supervisor()
	proxies := []*part{s.proxy("p1")}
	s.workerOf("w1")
	s.connected(4)
	o := newUDPOrigin(t)
	v := s.visit(o)
	stop := s.start(v)
	s.goesOn(v, 20)
	proxies = append(proxies, s.proxy("p2"))
	s.eventually("both proxies are registered", func() bool {
		ps, err := s.store.Proxies(t.Context())
		return err == nil && len(ps) == 2
	})
	proxies[0].stop()
	s.goesOn(v, 20)
	stop()
	if ports := o.sources(); len(ports) != 2 {
		t.Errorf("the origin received datagrams from %v, want two ports", ports)
	}
}

// TestUDPInOneProcess runs worker and proxy in one process, without a link.
func TestUDPInOneProcess(t *testing.T) {
	s := newSystem(t, protocol.FeatureDatagramV3)
	s.supervisor()
	svc, err := proxy.New(proxy.Default(), proxy.Deps{Logger: s.logger(), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	s.run(&part{}, svc.Run)
	s.workerWith(&part{cable: &cable{Store: s.store}}, "w1", link.NewDirect(svc.Handler()))
	s.connected(4)
	o := newUDPOrigin(t)
	v := s.visit(o)
	stop := s.start(v)
	s.goesOn(v, 50)
	stop()
	if ports := o.sources(); len(ports) != 1 {
		t.Errorf("the origin received datagrams from %v", ports)
	}
}
