package opener

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/access"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/balance"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/dialer"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/h1"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/static"
)

const (
	// continueWait is how long a request with Expect waits for 100 Continue before it sends its body anyway.
	continueWait = time.Second
	// maxHeadBytes bounds a response head with the interim responses before it, as it is on the wire. What is left after
	// decoding is bounded by httpfield.Limits.
	maxHeadBytes = 256 << 10
	// streamWindow is how much of a response an HTTP/2 origin may send ahead of its reader.
	streamWindow = 1 << 20
	// unixHost is the host in the URL of requests over a Unix socket when no other host is known.
	unixHost = "localhost"
)

// Opener makes the origins of rules, and reads the files that rules name.
type Opener struct {
	log   *slog.Logger
	point *dialer.Point
	ring  *access.Keyring
	hub   *balance.Hub
}

// New makes an Opener that logs to log. Its origins dial through point, which also says which files may be read.
func New(log *slog.Logger, point *dialer.Point) *Opener {
	return &Opener{log: log, point: point, hub: balance.NewHub(log, nil, nil)}
}

// Close ends the fetches of keys.
func (p *Opener) Close() {
	if p.ring != nil {
		p.ring.Close()
	}
}

// WithKeyring gives a copy whose guards check access tokens with the keys of ring. Without a ring, guards refuse every request.
func (p *Opener) WithKeyring(ring *access.Keyring) *Opener {
	c := *p
	c.ring = ring
	return &c
}

// WithHub gives a copy that makes the groups of rules with several origins in hub.
func (p *Opener) WithHub(hub *balance.Hub) *Opener {
	c := *p
	c.hub = hub
	return &c
}

// Group makes what chooses among the origins of a rule with several.
func (p *Opener) Group(rule *ingress.Rule) (origin.Chooser, error) {
	set := rule.Origin
	set.Access = ingress.Access{} // not the origins' business
	settings := fmt.Sprintf("%+v", set)
	if set.CAPool != "" {
		ca, err := p.ReadCA(rule.Service, set)
		if err != nil {
			return nil, err
		}
		settings += fmt.Sprintf(" %x", sha256.Sum256(ca)) // a file replaced in place is another setting
	}
	g, err := p.hub.Group(rule, settings, func(svc ingress.Service, addr netip.Addr) (*origin.Origin, error) {
		ca, err := p.ReadCA(svc, set)
		if err != nil {
			return nil, err
		}
		return p.openAt(svc, set, ca, addr)
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

// Guard makes what checks the access tokens for a rule that demands them.
func (p *Opener) Guard(a ingress.Access) origin.Guard {
	g := p.ring.Guard(a)
	if err := g.Broken(); err != nil {
		p.log.Warn("rule refuses every request", slog.Any(logkey.Err, err))
	}
	return g
}

// Allow judges the files that a rule gives to visitors.
func (p *Opener) Allow(rule *ingress.Rule) error {
	if rule.Service.Kind == ingress.KindFiles {
		if err := p.point.Serve(rule.Service.Path, true, rule.Pushed); err != nil {
			return err
		}
	}
	if a := rule.Actions; a != nil && a.File != "" {
		return p.point.Serve(a.File, false, rule.Pushed)
	}
	return nil
}

// Open makes the origin of a service with its effective settings. ca is the content of the CA file (see ReadCA); a content
// without certificates is logged.
func (p *Opener) Open(svc ingress.Service, set ingress.OriginRequest, ca []byte) (*origin.Origin, error) {
	return p.openAt(svc, set, ca, netip.Addr{})
}

// openAt is Open for an origin that is reached at addr, if that is valid, whatever the addresses of its name are.
func (p *Opener) openAt(svc ingress.Service, set ingress.OriginRequest, ca []byte, addr netip.Addr) (*origin.Origin, error) {
	if addr.IsValid() {
		if err := p.point.Host(svc.URL.Hostname()); err != nil {
			return nil, err // the policy judges names, too
		}
	}
	o := &origin.Origin{Text: svc.Text(), HostHeader: set.HTTPHostHeader, NoChunked: set.DisableChunkedEncoding}
	switch svc.Kind {
	case ingress.KindHTTP, ingress.KindH2C, ingress.KindUnix, ingress.KindUnixTLS:
		o.Kind = origin.KindHTTP
		way, err := p.openHTTP(svc, set, ca, addr)
		if err != nil {
			return nil, fmt.Errorf("Error starting local service %s: %w", o.Text, err) //nolint:staticcheck // the text is the reference's
		}
		o.HTTP = way
	case ingress.KindStatus:
		o.Kind, o.Status = origin.KindStatus, svc.Status
	case ingress.KindHelloWorld:
		o.Kind, o.Handler, o.Echoes = origin.KindHandler, origin.Hello(), true
		p.log.Info("demo page is served in this process")
	case ingress.KindFiles:
		o.Kind, o.Handler = origin.KindHandler, static.Files{Dir: svc.Path, Listing: svc.Listing}
	case ingress.KindStream, ingress.KindBastion, ingress.KindSocks:
		if addr.IsValid() {
			svc.URL = &url.URL{Scheme: svc.URL.Scheme, Host: net.JoinHostPort(addr.String(), svc.URL.Port())}
		}
		point := p.point
		if svc.Kind != ingress.KindStream { // a bastion or SOCKS
			point = point.ForVisitors()
		}
		o.Kind, o.Stream = origin.KindStream, origin.NewStream(svc, set, point)
	case ingress.KindManagement:
		fallthrough // belongs to no rule of a user
	default:
		return nil, fmt.Errorf("service %s: unknown kind %d", o.Text, svc.Kind)
	}
	return o, nil
}

// openHTTP builds the connection pool of an HTTP service (docs/spec/ingress.md 7.2).
func (p *Opener) openHTTP(svc ingress.Service, set ingress.OriginRequest, ca []byte, addr netip.Addr) (origin.HTTP, error) {
	o := origin.HTTP{Scheme: svc.OriginScheme()}
	tlsConf, err := p.tls(&o, svc, set, ca)
	if err != nil {
		return origin.HTTP{}, err
	}
	d := net.Dialer{Timeout: set.ConnectTimeout, KeepAlive: set.TCPKeepAlive}
	if set.NoHappyEyeballs {
		d.FallbackDelay = -1
	}
	t := &http.Transport{
		DialContext:            p.dial(d),
		TLSClientConfig:        tlsConf,
		TLSHandshakeTimeout:    set.TLSTimeout,
		DisableCompression:     true,
		MaxIdleConns:           max(set.KeepAliveConnections, 0),
		MaxIdleConnsPerHost:    set.KeepAliveConnections,
		IdleConnTimeout:        set.KeepAliveTimeout,
		ResponseHeaderTimeout:  set.ResponseHeaderTimeout,
		ExpectContinueTimeout:  continueWait,
		MaxResponseHeaderBytes: maxHeadBytes,
		Protocols:              protocols(svc.Kind, set.HTTP2Origin),
		HTTP2:                  &http.HTTP2Config{MaxReceiveBufferPerStream: streamWindow},
	}
	switch svc.Kind {
	case ingress.KindUnix, ingress.KindUnixTLS:
		o.Host = unixHost
		t.DialContext = p.fixedDial(d, "unix", svc.Path)
		o.Dial = func(ctx context.Context) (net.Conn, error) { return t.DialContext(ctx, "unix", svc.Path) }
	default:
		o.Host = svc.URL.Host
		o.Dial = func(ctx context.Context) (net.Conn, error) {
			return t.DialContext(ctx, "tcp", at(dialAddress(svc, o.Scheme), addr))
		}
		if addr.IsValid() {
			t.DialContext = p.fixedDial(d, "tcp", at(dialAddress(svc, o.Scheme), addr))
		}
		if o.PerHost {
			// The URL names the TLS server, so the pool is keyed by it; the connection still goes to the service. An
			// environment proxy would be asked for the wrong address, so there is none.
			o.Port = portSuffix(svc.URL.Port())
			t.DialContext = p.fixedDial(d, "tcp", at(dialAddress(svc, o.Scheme), addr))
		} else if p.point.Proxied() && !addr.IsValid() {
			t.Proxy = http.ProxyFromEnvironment
		}
	}
	dial := t.DialContext
	t.DialContext = watched(dial)
	o.Client, o.Upgrades = interruptible{t}, t
	if svc.Kind == ingress.KindH2C {
		upgrades := t.Clone() // HTTP/2 has no upgrade; most such servers speak HTTP/1.1 as well
		upgrades.Protocols = protocols(ingress.KindHTTP, false)
		o.Upgrades = upgrades
	}
	if o.Scheme == "http" && svc.Kind != ingress.KindH2C && !set.HTTP2Origin {
		o.Client = lean(t, dial)
	}
	return o, nil
}

// tls makes the TLS settings of a service, and decides where its server name comes from.
func (p *Opener) tls(o *origin.HTTP, svc ingress.Service, set ingress.OriginRequest, ca []byte) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: set.NoTLSVerify}
	if o.Scheme == "https" {
		pool, err := trusted(ca, set.CAPool, p.log)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = pool
	}
	o.PerHost = o.Scheme == "https" && (set.MatchSNIToHost || svc.Kind == ingress.KindUnixTLS && set.OriginServerName == "")
	if !o.PerHost {
		conf.ServerName = set.OriginServerName
	}
	return conf, nil
}

// lean is a client for plain HTTP/1.1 with the settings of t, which does the rest. It dials itself.
func lean(t *http.Transport, dial func(context.Context, string, string) (net.Conn, error)) *h1.Transport {
	return h1.New(h1.Config{
		DialContext:            dial,
		Proxy:                  t.Proxy,
		MaxIdle:                t.MaxIdleConns,
		MaxIdlePerHost:         t.MaxIdleConnsPerHost,
		IdleTimeout:            t.IdleConnTimeout,
		ResponseHeaderTimeout:  t.ResponseHeaderTimeout,
		MaxResponseHeaderBytes: maxHeadBytes,
		Fallback:               interruptible{t},
	})
}

// protocols are the versions of HTTP that may be used: HTTP/2 over TLS only if it is configured, in cleartext only to an h2c service.
func protocols(kind ingress.Kind, http2Origin bool) *http.Protocols {
	p := new(http.Protocols)
	if kind == ingress.KindH2C {
		p.SetUnencryptedHTTP2(true)
		return p
	}
	p.SetHTTP1(true)
	p.SetHTTP2(http2Origin)
	return p
}

// dial dials what a URL says.
func (p *Opener) dial(d net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return p.point.Dial(ctx, d, network, address)
	}
}

// fixedDial dials one address whatever the URL says.
func (p *Opener) fixedDial(d net.Dialer, network, address string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return p.point.Dial(ctx, d, network, address)
	}
}

// at puts an address, if it is valid, in the place of the host of a host and port.
func at(hostPort string, addr netip.Addr) string {
	_, port, err := net.SplitHostPort(hostPort)
	if err != nil || !addr.IsValid() {
		return hostPort
	}
	return net.JoinHostPort(addr.String(), port)
}

func portSuffix(port string) string {
	if port == "" {
		return ""
	}
	return ":" + port
}

// dialAddress is the host and port of a service's URL, with the scheme's port when there is none.
func dialAddress(svc ingress.Service, scheme string) string {
	port := svc.URL.Port()
	if port == "" {
		port = "80"
		if scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(svc.URL.Hostname(), port)
}
