package front

import (
	"crypto/tls"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/services/edge/internal/forwarded"
)

// Default limits of the header, or the trailers, of one request or response.
const (
	DefaultHeaderFields = httpfield.DefaultMaxFields
	DefaultHeaderBytes  = httpfield.DefaultMaxBytes
)

// Config has the addresses, the trusted proxies, the timeouts and the limits.
type Config struct {
	HTTP  netip.AddrPort
	HTTPS netip.AddrPort
	// TLS is needed with HTTPS.
	TLS *tls.Config
	// TrustedProxies are networks, as forwarded.ParseProxies reads them, of proxies that may state the visitor's address. With
	// ProxyProtocol their connections begin with a header of that protocol.
	TrustedProxies []string
	ProxyProtocol  bool

	Location              string
	ResponseHeaderTimeout time.Duration
	ReadHeaderTimeout     time.Duration
	IdleTimeout           time.Duration
	BodyIdleTimeout       time.Duration
	DrainTimeout          time.Duration
	ExposeErrors          bool
	// HalfCloseTimeout bounds how long one direction of an upgraded stream may be silent once the other has ended.
	HalfCloseTimeout time.Duration
	Limits           Limits
}

// Limits bound the resources that visitors can use.
type Limits struct {
	// Connections and WebSockets bound those of all visitors. The limits per address (IPv6: per /64) are a quarter of
	// them, but at least 64, when they are 0.
	Connections, ConnectionsPerAddress int
	WebSockets, WebSocketsPerAddress   int
	// Streams is how many requests one visitor may have in flight on one HTTP/2 connection.
	Streams int
	// HeaderFields and HeaderBytes bound the header, and the trailers, of one request or response (httpfield.Limits).
	HeaderFields, HeaderBytes int
	// TargetBytes bounds the target of a request; 0 is no limit.
	TargetBytes int
	// ConnectionHeaderBytes bounds the headers of all requests in flight on one connection of a visitor; 0 is no limit.
	ConnectionHeaderBytes int
	// BodyRate is the number of bytes per second that a body of declared length must reach on average.
	BodyRate int
}

// CheckProxies reports what is wrong with the text of a network in TrustedProxies.
func CheckProxies(texts []string) error {
	_, err := forwarded.ParseProxies(texts)
	return err
}

func (l *Limits) header() httpfield.Limits {
	return httpfield.Limits{MaxFields: l.HeaderFields, MaxBytes: l.HeaderBytes}
}
