package ingress

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/wire/proxyproto"
)

// The built-in defaults of originRequest and warp-routing (docs/spec/ingress.md 2.4, 2.5).
const (
	DefaultConnectTimeout       = 30 * time.Second
	DefaultTLSTimeout           = 10 * time.Second
	DefaultTCPKeepAlive         = 30 * time.Second
	DefaultKeepAliveConnections = 100
	DefaultKeepAliveTimeout     = 90 * time.Second
	DefaultProxyAddress         = "127.0.0.1"
	DefaultWarpConnectTimeout   = 5 * time.Second
)

// OriginRequest is the effective originRequest of a rule: every field is resolved.
type OriginRequest struct {
	ConnectTimeout         time.Duration // dialing, TCP or unix; 0 means no limit
	TLSTimeout             time.Duration // TLS handshake with the origin; 0 means no limit
	TCPKeepAlive           time.Duration // 0 means the runtime's default, negative means off
	NoHappyEyeballs        bool
	KeepAliveConnections   int           // idle connections kept; 0 means no total limit and 2 per host, negative means no reuse
	KeepAliveTimeout       time.Duration // idle time of a kept connection; 0 means for ever
	HTTPHostHeader         string        // replaces Host towards the origin
	OriginServerName       string        // SNI and the name checked in the certificate
	MatchSNIToHost         bool          // SNI and certificate name are the outgoing Host
	CAPool                 string        // PEM file added to the system roots
	NoTLSVerify            bool
	DisableChunkedEncoding bool
	HTTP2Origin            bool // offer h2 to https origins
	BastionMode            bool
	ProxyAddress           string             // reported, without effect
	ProxyPort              uint               // reported, without effect
	ProxyType              string             // "socks" or ""
	ProxyProtocol          proxyproto.Version // header at the start of a stream to a tcp-like service
	ResponseHeaderTimeout  time.Duration      // from the end of the request to the response head; 0 means no limit
	IPRules                []IPRule
	Access                 Access
}

// Access is the effective access object of a rule.
type Access struct {
	Required    bool
	TeamName    string
	AudTag      []string
	Environment string // "fed" selects the other key host
	Issuer      string // https URL of an OpenID Connect issuer that replaces the one of TeamName
}

// WarpRouting is the effective warp-routing object.
type WarpRouting struct {
	ConnectTimeout time.Duration
	TCPKeepAlive   time.Duration
	MaxActiveFlows uint64             // 0 means unlimited
	IPRules        []IPRule           // no rules allow every destination; a destination that none of some rules contains is denied
	ProxyProtocol  proxyproto.Version // header at the start of a TCP stream
}

// DefaultOriginRequest gives the built-in defaults.
func DefaultOriginRequest() OriginRequest {
	return OriginRequest{
		ConnectTimeout:       DefaultConnectTimeout,
		TLSTimeout:           DefaultTLSTimeout,
		TCPKeepAlive:         DefaultTCPKeepAlive,
		KeepAliveConnections: DefaultKeepAliveConnections,
		KeepAliveTimeout:     DefaultKeepAliveTimeout,
		ProxyAddress:         DefaultProxyAddress,
	}
}
