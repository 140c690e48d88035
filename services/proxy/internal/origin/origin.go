package origin

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strings"
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
	// Echoes says that a websocket at EchoPath gets its messages back.
	Echoes bool
	// Stream opens the connections of KindStream.
	Stream *Stream
	// HostHeader replaces Host towards the origin when it is not empty.
	HostHeader string
	// NoChunked says that bodies of unknown length must not be sent chunked.
	NoChunked bool

	// HTTP is how an origin of KindHTTP is reached.
	HTTP HTTP
}

// HTTP is the way to an origin that speaks HTTP.
type HTTP struct {
	Scheme string
	Host   string // URL host of each request, with the port if the service has one
	Port   string // with PerHost: the port part that follows the name
	// PerHost says that the TLS name is the outgoing Host, and so is the key of the connection pool.
	PerHost bool
	Client  Client
	// Dial opens a connection to the origin that carries nothing yet.
	Dial func(ctx context.Context) (net.Conn, error)
	// Upgrades runs requests that leave HTTP, always over HTTP/1.1.
	Upgrades Client
}

// Guard checks what a rule demands of a visitor.
type Guard interface {
	// Check judges the header of a request, with canonical names. Its error has a method Status unless ctx ended.
	Check(ctx context.Context, header http.Header) error
}

// Client runs exchanges over connections that it keeps.
type Client interface {
	http.RoundTripper
	CloseIdleConnections()
}

// Target gives the scheme and host of the URL to ask for, which also choose the pool and the TLS name. outgoing is the
// Host header towards the origin.
func (o *Origin) Target(outgoing string) (scheme, host string, err error) {
	if !o.HTTP.PerHost {
		return o.HTTP.Scheme, o.HTTP.Host, nil
	}
	if outgoing == "" {
		return o.HTTP.Scheme, o.HTTP.Host, nil
	}
	name, err := serverName(outgoing)
	if err != nil {
		return "", "", err
	}
	return o.HTTP.Scheme, name + o.HTTP.Port, nil
}

// RoundTrip runs one exchange with an origin of KindHTTP.
func (o *Origin) RoundTrip(req *http.Request) (*http.Response, error) {
	return o.HTTP.Client.RoundTrip(req)
}

// Upgrade runs a websocket handshake with an origin of KindHTTP, always over HTTP/1.1. The connection is given to
// connected when there is one; the body of a response 101 is its reading side.
func (o *Origin) Upgrade(req *http.Request, connected func(net.Conn)) (*http.Response, error) {
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			if w, ok := info.Conn.(interface{ Unwrap() net.Conn }); ok {
				connected(w.Unwrap()) // the connection below can do more
				return
			}
			connected(info.Conn)
		},
	})
	return o.HTTP.Upgrades.RoundTrip(req.WithContext(ctx))
}

// Close ends idle connections; running exchanges finish.
func (o *Origin) Close() {
	if o.HTTP.Client != nil {
		o.HTTP.Client.CloseIdleConnections()
		o.HTTP.Upgrades.CloseIdleConnections()
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
