package origin

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/h1"
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

// open builds the connection pool of an HTTP service (docs/spec/ingress.md 7.2).
func (o *Origin) open(svc ingress.Service, set ingress.OriginRequest, ca []byte, log *slog.Logger) error {
	tlsConf := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: set.NoTLSVerify,
	}
	if o.scheme == "https" {
		pool, err := trusted(ca, set.CAPool, log)
		if err != nil {
			return err
		}
		tlsConf.RootCAs = pool
	}
	o.perHost = o.scheme == "https" && (set.MatchSNIToHost ||
		svc.Kind == ingress.KindUnixTLS && set.OriginServerName == "")
	if !o.perHost {
		tlsConf.ServerName = set.OriginServerName
	}
	dialer := &net.Dialer{Timeout: set.ConnectTimeout, KeepAlive: set.TCPKeepAlive}
	if set.NoHappyEyeballs {
		dialer.FallbackDelay = -1
	}
	o.transport = &http.Transport{
		DialContext:            dialer.DialContext,
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
		o.host = unixHost
		o.transport.DialContext = fixedDial(dialer, "unix", svc.Path)
	default:
		o.host = svc.URL.Host
		if o.perHost {
			// The URL names the TLS server, so the pool is keyed by it; the connection still goes to the service. An
			// environment proxy would be asked for the wrong address, so there is none.
			o.port = portSuffix(svc.URL.Port())
			o.transport.DialContext = fixedDial(dialer, "tcp", dialAddress(svc, o.scheme))
		} else {
			o.transport.Proxy = http.ProxyFromEnvironment
		}
	}
	dial := o.transport.DialContext
	o.transport.DialContext = watched(dial)
	o.client, o.upgrades = interruptible{o.transport}, o.transport
	if svc.Kind == ingress.KindH2C {
		o.upgrades = o.transport.Clone() // HTTP/2 has no upgrade; most such servers speak HTTP/1.1 as well
		o.upgrades.Protocols = protocols(ingress.KindHTTP, false)
	}
	if o.scheme == "http" && svc.Kind != ingress.KindH2C && !set.HTTP2Origin {
		o.client = lean(o.transport, dial)
	}
	return nil
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

// protocols says what may be spoken: HTTP/2 over TLS only when asked for, in cleartext only to an h2c service.
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

// fixedDial dials one address whatever the URL says.
func fixedDial(d *net.Dialer, network, addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, network, addr) }
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
