package cluster

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/services/discovery"
)

// nameServer responds with records that a test changes.
type nameServer struct {
	addr string

	mu      sync.Mutex
	records []dns.RR
	lookups int // queries for an SRV record
}

func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nameServer{addr: conn.LocalAddr().String()}
	started := make(chan struct{})
	server := &dns.Server{PacketConn: conn, Handler: n, NotifyStartedFunc: func() { close(started) }}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.ActivateAndServe() }) // its end is that of the test
	<-started
	t.Cleanup(func() {
		_ = server.Shutdown() // nothing is lost with it
		wg.Wait()
	})
	return n
}

func (n *nameServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	reply := new(dns.Msg).SetReply(q)
	n.mu.Lock()
	if q.Question[0].Qtype == dns.TypeSRV {
		n.lookups++
	}
	for _, rr := range n.records {
		if h := rr.Header(); strings.EqualFold(h.Name, q.Question[0].Name) && h.Rrtype == q.Question[0].Qtype {
			reply.Answer = append(reply.Answer, rr)
		}
	}
	n.mu.Unlock()
	_ = w.WriteMsg(reply) // the client has its own time-out
}

func (n *nameServer) looked() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lookups
}

// set makes the records name the addresses of two regions.
func (n *nameServer) set(t *testing.T, regions ...[]netip.AddrPort) {
	t.Helper()
	var texts []string
	for i, region := range regions {
		host := fmt.Sprintf("region%d.edge.test.", i+1)
		texts = append(texts, host+" 60 IN A 127.0.0.1")
		for _, a := range region {
			texts = append(texts, fmt.Sprintf("_v2-origintunneld._tcp.edge.test. 60 IN SRV %d 1 %d %s", i, a.Port(), host))
		}
	}
	var records []dns.RR
	for _, text := range texts {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, rr)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records = records
}

// The edge moves to other addresses. A worker that finds all old ones dead asks for a lookup, long before the refresh, and connects.
func TestExhaustedPoolIsLookedUpAgain(t *testing.T) {
	c := newCluster(t, 0)
	edges := newNetwork(t, 5)
	c.net, c.demanded, c.retries = edges, protocol.QUIC, 2 // waits of up to 4 s
	names := newNameServer(t)
	dead := func(port uint16) []netip.AddrPort {
		return []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}
	}
	names.set(t, dead(9), dead(13)) // nothing listens on the discard and daytime ports
	cfg := discovery.Default()
	cfg.SRV.Domain, cfg.Resolver, cfg.Refresh = "edge.test", names.addr, time.Hour
	d, err := discovery.New(cfg, discovery.Deps{Store: c.store, Logger: c.logger()})
	if err != nil {
		t.Fatal(err)
	}
	c.run(&part{}, d.Run)
	c.eventually("the first lookup", func() bool {
		pool, err := c.store.Pool(t.Context(), "")
		return err == nil && pool.Count(edgepool.Any) == 2
	})
	if n := names.looked(); n != 1 {
		t.Errorf("%d lookups at the start, want 1", n)
	}
	names.set(t, edges.pool.Regions[0].V4, edges.pool.Regions[1].V4)
	began := time.Now()
	c.supervisor()
	c.worker("w1")
	c.steady(4)
	t.Logf("4 connections %v after the start of the worker, %d lookups", time.Since(began).Round(time.Millisecond), names.looked())
	if n := names.looked(); n < 2 || n > 3 {
		t.Errorf("%d lookups, want the first one and one or two on demand", n)
	}
}
