package quick

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/forwarded"
)

const (
	requestTimeout = 5 * time.Second
	// sweeps is how often absences are looked at during the time that a tunnel is kept without a connection.
	sweeps = 8
	// nameTries is how many random names are tried: one is almost never taken.
	nameTries = 8
	// retryAfter is what a refused client is told to wait, in seconds.
	retryAfter = "60"
)

// Store is where quick tunnels are.
type Store struct {
	// Create makes a tunnel with a route. A name or host that is taken is tunnel.ErrConflict, and Full says that limit tunnels exist.
	Create func(name, host string, limit int, now time.Time) (tunnel.Credentials, error)
	Full   error
	List   func() []tunnel.ID
	Remove func(ids []tunnel.ID) error
	// Connected reports whether a tunnel has a connection.
	Connected func(id tunnel.ID) bool
	// Evict ends the connections of a tunnel that is no more.
	Evict func(id tunnel.ID)
}

// Deps is what the service works on.
type Deps struct {
	Store  Store
	Logger *slog.Logger
	// TLS is nil for a plain listener.
	TLS *tls.Config
	// TrustedProxies are networks of proxies that may name the client, as for visitors.
	TrustedProxies []string
}

// Server is the service.
type Server struct {
	cfg     Config
	deps    Deps
	proxies forwarded.Proxies
	ln      net.Listener
	addr    netip.AddrPort

	// mu guards limits.
	mu     sync.Mutex
	limits *limiter
}

// New binds the listener of a configuration that has one.
func New(cfg Config, deps Deps) (*Server, error) {
	proxies, err := forwarded.ParseProxies(deps.TrustedProxies)
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	network := "tcp"
	if cfg.Listen.Addr().Unmap().Is4() {
		network = "tcp4" // "tcp" would take 0.0.0.0 as every address of both families
	}
	ln, err := lc.Listen(context.Background(), network, cfg.Listen.String()) // binding does not wait
	if err != nil {
		return nil, fmt.Errorf("quick service: %w", err)
	}
	s := &Server{cfg: cfg, deps: deps, proxies: proxies, ln: ln, limits: newLimiter(cfg.PerMinute, cfg.PerMinutePerAddress)}
	if a, ok := ln.Addr().(*net.TCPAddr); ok {
		s.addr = a.AddrPort()
	}
	if deps.TLS != nil {
		conf := deps.TLS.Clone()
		conf.NextProtos = []string{"http/1.1"} // one short request needs no more
		s.ln = tls.NewListener(ln, conf)
	}
	return s, nil
}

// Addr is where the service listens.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// Close frees the listener of a server that never ran.
func (s *Server) Close() error { return s.ln.Close() }

// Run serves, and removes forgotten tunnels, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { s.sweep(ctx); return nil })
	g.Go(func() error {
		mux := http.NewServeMux()
		mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
			s.refuse(w, http.StatusNotFound, "only /tunnel exists here")
		})
		mux.HandleFunc("/tunnel", s.create)
		srv := &http.Server{
			Handler: mux, ReadHeaderTimeout: requestTimeout, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout,
			IdleTimeout: requestTimeout, MaxHeaderBytes: 8 << 10,
			ErrorLog: slog.NewLogLogger(s.deps.Logger.Handler(), slog.LevelDebug),
		}
		return ops.Serve(ctx, "quick service", srv, s.ln)
	})
	return g.Wait()
}

// response is the JSON object of the protocol.
type response struct {
	Success bool    `json:"success"`
	Result  *result `json:"result"`
	Errors  []fault `json:"errors"`
}

type result struct {
	ID         tunnel.ID `json:"id"`
	Name       string    `json:"name"`
	Hostname   string    `json:"hostname"`
	AccountTag string    `json:"account_tag"`
	// Secret is plain bytes, since tunnel.Secret refuses to be written.
	Secret []byte `json:"secret"`
}

type fault struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		s.refuse(w, http.StatusMethodNotAllowed, "the method is not POST")
		return
	}
	client := s.client(r)
	s.mu.Lock()
	allowed := s.limits.allow(client, time.Now())
	s.mu.Unlock()
	if !allowed {
		w.Header().Set("Retry-After", retryAfter)
		s.refuse(w, http.StatusTooManyRequests, "too many quick tunnels were asked for; try again in a minute")
		return
	}
	t, label, err := s.newTunnel()
	switch {
	case errors.Is(err, s.deps.Store.Full):
		w.Header().Set("Retry-After", retryAfter)
		s.refuse(w, http.StatusServiceUnavailable, "there are as many quick tunnels as this edge allows; try again later")
		return
	case err != nil:
		s.deps.Logger.ErrorContext(r.Context(), "quick tunnel not created", slog.Any(logkey.Err, err))
		s.refuse(w, http.StatusInternalServerError, "the tunnel could not be created")
		return
	}
	host := label + "." + s.cfg.Domain
	s.deps.Logger.InfoContext(r.Context(), "quick tunnel created", slog.String(logkey.TunnelID, t.TunnelID.String()),
		slog.String(logkey.Host, host), slog.String(logkey.Client, client.String()))
	s.respond(w, http.StatusOK, response{Success: true, Errors: []fault{}, Result: &result{
		ID: t.TunnelID, Name: label, Hostname: host, AccountTag: t.AccountTag, Secret: t.Secret,
	}})
}

// client is the address that a limit counts: the peer, or whom a trusted proxy names.
func (s *Server) client(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	if !s.proxies.Contain(peer.Addr()) {
		return peer.Addr()
	}
	return s.proxies.Resolve(peer.Addr(), r.Header).Addr
}

// newTunnel makes a tunnel with a host name that nobody has.
func (s *Server) newTunnel() (t tunnel.Credentials, label string, err error) {
	for range nameTries {
		var random [nameBytes]byte
		_, _ = rand.Read(random[:]) // crypto/rand ends the process rather than fail
		label = name(random)
		if t, err = s.deps.Store.Create(label, label+"."+s.cfg.Domain, s.cfg.MaxTunnels, time.Now()); !errors.Is(err, tunnel.ErrConflict) {
			break
		}
	}
	return t, label, err
}

// refuse says why there is no tunnel. The code of the error is the status, as the protocol does not fix any.
func (s *Server) refuse(w http.ResponseWriter, status int, text string) {
	s.respond(w, status, response{Errors: []fault{{Code: status, Message: text}}})
}

func (s *Server) respond(w http.ResponseWriter, status int, body response) {
	b, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client may be gone
}

// sweep removes tunnels whose connector has been gone for too long.
func (s *Server) sweep(ctx context.Context) {
	store, seen := s.deps.Store, make(absences)
	tick := time.NewTicker(s.cfg.KeepFor / sweeps)
	defer tick.Stop()
	for {
		gone := seen.expired(store.List(), store.Connected, time.Now(), s.cfg.KeepFor)
		if err := store.Remove(gone); err != nil {
			s.deps.Logger.ErrorContext(ctx, "quick tunnels not removed", slog.Any(logkey.Err, err))
		}
		for _, id := range gone {
			store.Evict(id) // one that connected meanwhile
			s.deps.Logger.InfoContext(ctx, "quick tunnel removed", slog.String(logkey.TunnelID, id.String()))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
