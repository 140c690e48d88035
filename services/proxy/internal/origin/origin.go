package origin

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

// Kind is how an origin serves a request. Dispatch depends on it and not on the request (docs/spec/ingress.md 6.3).
type Kind uint8

// The kinds.
const (
	KindHTTP    Kind = iota + 1 // an HTTP request over the network
	KindStatus                  // a fixed status, no network
	KindHandler                 // a handler in this process
	KindStream                  // a byte stream, not HTTP: tcp, ssh, bastion, socks-proxy and the like
)

// ErrHostName says that a request's host cannot serve as the name in a TLS handshake.
var ErrHostName = errors.New("host is not usable as a TLS server name")

// Origin is a rule's service, ready for use.
type Origin struct {
	// Text is the canonical form of the service, for logs and reports.
	Text string
	Kind Kind
	// Status is the response of KindStatus.
	Status int
	// Handler serves KindHandler.
	Handler http.Handler
	// Stream opens the connections of KindStream.
	Stream *Stream
	// HostHeader replaces Host towards the origin when it is not empty.
	HostHeader string
	// NoChunked says that bodies of unknown length must not be sent chunked.
	NoChunked bool

	scheme    string
	host      string // URL host of each request, with the port if the service has one
	port      string // with perHost: the port part that follows the name
	perHost   bool   // the TLS name is the outgoing Host, and so is the pool's key
	transport *http.Transport
	client    client
	// upgrades runs requests that leave HTTP: the transport, or one without HTTP/2.
	upgrades *http.Transport
}

// client runs exchanges over connections that it keeps.
type client interface {
	http.RoundTripper
	CloseIdleConnections()
}

// New makes the origin of a service with its effective settings. ca is the content of the CA file (see ReadCA); a content
// without certificates is logged.
func New(svc ingress.Service, set ingress.OriginRequest, ca []byte, log *slog.Logger) (*Origin, error) {
	o := &Origin{
		Text:       svc.Text(),
		HostHeader: set.HTTPHostHeader,
		NoChunked:  set.DisableChunkedEncoding,
		scheme:     svc.OriginScheme(),
	}
	switch svc.Kind {
	case ingress.KindHTTP, ingress.KindH2C, ingress.KindUnix, ingress.KindUnixTLS:
		o.Kind = KindHTTP
		if err := o.open(svc, set, ca, log); err != nil {
			return nil, fmt.Errorf("Error starting local service %s: %w", o.Text, err) //nolint:staticcheck // the text is the reference's
		}
	case ingress.KindStatus:
		o.Kind, o.Status = KindStatus, svc.Status
	case ingress.KindHelloWorld:
		o.Kind, o.Handler = KindHandler, newHello()
	case ingress.KindStream, ingress.KindBastion, ingress.KindSocks:
		o.Kind, o.Stream = KindStream, newStream(svc, set)
	case ingress.KindManagement:
		fallthrough // belongs to no rule of a user
	default:
		return nil, fmt.Errorf("service %s: unknown kind %d", o.Text, svc.Kind)
	}
	return o, nil
}

// Target gives the scheme and host of the URL to ask for, which also choose the pool and the TLS name. outgoing is the
// Host header towards the origin.
func (o *Origin) Target(outgoing string) (scheme, host string, err error) {
	if !o.perHost {
		return o.scheme, o.host, nil
	}
	if outgoing == "" {
		return o.scheme, o.host, nil
	}
	name, err := serverName(outgoing)
	if err != nil {
		return "", "", err
	}
	return o.scheme, name + o.port, nil
}

// RoundTrip runs one exchange with an origin of KindHTTP.
func (o *Origin) RoundTrip(req *http.Request) (*http.Response, error) {
	return o.client.RoundTrip(req)
}

// Upgrade runs a websocket handshake with an origin of KindHTTP, always over HTTP/1.1. The connection is given to
// connected when there is one; the body of a response 101 is its reading side.
func (o *Origin) Upgrade(req *http.Request, connected func(net.Conn)) (*http.Response, error) {
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { connected(unwatched(info.Conn)) },
	})
	return o.upgrades.RoundTrip(req.WithContext(ctx))
}

// Close ends idle connections; running exchanges finish.
func (o *Origin) Close() {
	if o.client != nil {
		o.client.CloseIdleConnections()
		o.upgrades.CloseIdleConnections()
	}
}

// serverName is the TLS name in a Host header: no port, lower case, no trailing dot; an IPv6 address keeps its brackets,
// since the name goes into a URL.
func serverName(host string) (string, error) {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"); strings.Contains(bare, ":") {
		ip, err := netip.ParseAddr(bare)
		if err != nil || ip.Zone() != "" {
			return "", ErrHostName
		}
		return "[" + ip.String() + "]", nil
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "" {
		return "", ErrHostName
	}
	for _, c := range []byte(host) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return "", ErrHostName
		}
	}
	return host, nil
}
