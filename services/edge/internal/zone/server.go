package zone

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/errgroup"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/services/edge/internal/zone/ratelimit"
)

const (
	// maxUDP bounds a response over UDP, even if a resolver accepts more: it fits one packet on every path.
	maxUDP       = 1232
	ioTimeout    = 2 * time.Second
	closeTimeout = 2 * time.Second
	// bindTries is the number of attempts to find a port that is free for both protocols.
	bindTries = 16
	// responseRate is the number of responses per second to one network over UDP. A resolver with a cache needs a few per minute.
	responseRate = 50
)

// Deps are the dependencies of a server.
type Deps struct {
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Server is the name server of one zone.
type Server struct {
	deps    Deps
	zone    *records
	udp     net.PacketConn
	tcp     net.Listener
	queries *prometheus.CounterVec
	// limited counts responses over UDP that were truncated or dropped.
	limited prometheus.Counter

	// mu protects limiter.
	mu      sync.Mutex
	limiter *ratelimit.Limiter
}

// New binds addr for UDP and TCP; port 0 takes one that is free for both.
func New(addr netip.AddrPort, c Content, deps Deps) (*Server, error) {
	z, err := build(c)
	if err != nil {
		return nil, err
	}
	s := &Server{deps: deps, zone: z, limiter: ratelimit.New(responseRate)}
	for range bindTries {
		if err = s.bind(addr); err == nil || addr.Port() != 0 {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	s.queries = promauto.With(deps.Registerer).NewCounterVec(prometheus.CounterOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "dns_queries_total",
		Help: "Queries to the edge's name server by the code of the response.",
	}, []string{"rcode"})
	s.limited = promauto.With(deps.Registerer).NewCounter(prometheus.CounterOpts{
		Namespace: "culvert", Subsystem: "edge", Name: "dns_responses_limited_total",
		Help: "Responses of the edge's name server over UDP that were truncated or dropped, because their network had too many.",
	})
	return s, nil
}

func (s *Server) bind(addr netip.AddrPort) error {
	var lc net.ListenConfig
	ctx := context.Background() // binding does not block
	family := ""
	if addr.Addr().Is4() {
		family = "4" // "udp" and "tcp" would bind 0.0.0.0 for both families
	}
	udp, err := lc.ListenPacket(ctx, "udp"+family, addr.String())
	if err != nil {
		return fmt.Errorf("dns listener: %w", err)
	}
	tcp, err := lc.Listen(ctx, "tcp"+family, udp.LocalAddr().String())
	if err != nil {
		return errors.Join(fmt.Errorf("dns listener: %w", err), udp.Close())
	}
	s.udp, s.tcp = udp, tcp
	return nil
}

// Addr is the bound address of both protocols.
func (s *Server) Addr() netip.AddrPort {
	a, ok := s.udp.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// Close closes the sockets of a server whose Run is never called.
func (s *Server) Close() error { return errors.Join(s.udp.Close(), s.tcp.Close()) }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	h := dns.HandlerFunc(s.serve)
	g, gctx := errgroup.WithContext(ctx)
	for _, srv := range []*dns.Server{
		{PacketConn: s.udp, Handler: h, ReadTimeout: ioTimeout, WriteTimeout: ioTimeout},
		{Listener: s.tcp, Handler: h, ReadTimeout: ioTimeout, WriteTimeout: ioTimeout},
	} {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		g.Go(func() error {
			if err := srv.ActivateAndServe(); err != nil && gctx.Err() == nil {
				return fmt.Errorf("dns server: %w", err)
			}
			return nil
		})
		g.Go(func() error {
			<-gctx.Done()
			select {
			case <-started:
			case <-time.After(closeTimeout): // a server that never started has nothing to stop
				return nil
			}
			stop, cancel := context.WithTimeout(context.WithoutCancel(gctx), closeTimeout)
			defer cancel()
			return srv.ShutdownContext(stop)
		})
	}
	return g.Wait()
}

func (s *Server) serve(w dns.ResponseWriter, q *dns.Msg) {
	m := s.response(q)
	if w.RemoteAddr().Network() == "udp" {
		size := dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = min(maxUDP, max(size, int(o.UDPSize())))
		}
		m.Truncate(size)
		switch s.limit(w.RemoteAddr()) {
		case ratelimit.Drop:
			s.limited.Inc()
			return
		case ratelimit.Truncate:
			s.limited.Inc()
			m.Truncated, m.Answer, m.Ns, m.Extra = true, nil, nil, nil // the resolver retries over TCP
		case ratelimit.Send:
		}
	}
	s.queries.WithLabelValues(dns.RcodeToString[m.Rcode]).Inc()
	if err := w.WriteMsg(m); err != nil {
		s.deps.Logger.Debug("dns response not delivered", slog.Any(logkey.Err, err))
	}
}

// limit decides whether a response over UDP is sent.
func (s *Server) limit(to net.Addr) ratelimit.Decision {
	a, ok := to.(*net.UDPAddr)
	if !ok {
		return ratelimit.Send
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limiter.Decide(a.AddrPort().Addr(), time.Now())
}

// response makes the response to one message.
func (s *Server) response(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	if q.Opcode != dns.OpcodeQuery {
		return m.SetRcode(q, dns.RcodeNotImplemented)
	}
	if len(q.Question) != 1 {
		return m.SetRcode(q, dns.RcodeFormatError)
	}
	m.SetReply(q)
	if o := q.IsEdns0(); o != nil {
		m.SetEdns0(maxUDP, false)
		if o.Version() != 0 {
			m.Rcode = dns.RcodeBadVers
			return m
		}
	}
	question := q.Question[0]
	name := strings.ToLower(question.Name)
	if question.Qclass != dns.ClassINET || !dns.IsSubDomain(s.zone.origin, name) {
		m.Rcode = dns.RcodeRefused
		return m
	}
	switch question.Qtype {
	case dns.TypeAXFR, dns.TypeIXFR:
		m.Rcode = dns.RcodeRefused
		return m
	}
	m.Authoritative = true
	rrs, exists := s.zone.lookup(name, question.Qtype)
	switch {
	case len(rrs) > 0:
		m.Answer = rrs
		m.Extra = append(m.Extra, s.zone.additional(rrs)...)
	case exists && question.Qtype == dns.TypeANY: // one record is enough (RFC 8482)
		m.Answer = []dns.RR{&dns.HINFO{Hdr: header(question.Name, dns.TypeHINFO, s.zone.soa.Hdr.Ttl), Cpu: "RFC8482"}}
	default:
		m.Ns = []dns.RR{s.zone.soa}
		if !exists {
			m.Rcode = dns.RcodeNameError
		}
	}
	return m
}
