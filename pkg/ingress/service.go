package ingress

import (
	"net/url"
	"strconv"
)

// Kind says what sort of origin a service is; dispatch goes by it and not by the request (docs/spec/ingress.md 6.3).
type Kind int

// Every kind there is.
const (
	KindHTTP       Kind = iota + 1 // http, https, ws, wss: URL is set
	KindH2C                        // h2c: cleartext HTTP/2 with prior knowledge; URL is set
	KindUnix                       // unix:PATH: plain HTTP; Path is set
	KindUnixTLS                    // unix+tls:PATH: HTTPS; Path is set
	KindHelloWorld                 // the built-in demo page
	KindStatus                     // http_status:N: Status is set
	KindStream                     // tcp, ssh, rdp, smb: a byte stream; URL is set, Host has a port
	KindBastion                    // a byte stream to the destination that the request names
	KindSocks                      // a SOCKS5 server
	KindManagement                 // an internal rule's service
	KindFiles                      // file:///DIR: the files of a directory; Path is set
)

// String gives the kind's name for logs and metrics.
func (k Kind) String() string {
	switch k {
	case KindHTTP:
		return "http"
	case KindH2C:
		return "h2c"
	case KindUnix:
		return "unix"
	case KindUnixTLS:
		return "unix_tls"
	case KindHelloWorld:
		return "hello_world"
	case KindStatus:
		return "http_status"
	case KindStream:
		return "stream"
	case KindBastion:
		return "bastion"
	case KindSocks:
		return "socks"
	case KindManagement:
		return "management"
	case KindFiles:
		return "files"
	}
	return "unknown"
}

// Service is a parsed origin service.
type Service struct {
	Kind   Kind
	URL    *url.URL // never modify; scheme is as written, in lower case (ws stays ws)
	Path   string   // of a socket or a directory
	Status int
	// Listing says for KindFiles that directories without index.html are listed.
	Listing bool
}

// Text is the canonical form of the service (docs/spec/ingress.md 6.1). It may hold a password; logs show String.
func (s Service) Text() string {
	switch s.Kind {
	case KindUnix:
		return prefixUnix + s.Path
	case KindUnixTLS:
		return prefixUnixTLS + s.Path
	case KindHelloWorld:
		return serviceHello
	case KindStatus:
		return prefixStatus + strconv.Itoa(s.Status)
	case KindBastion:
		return serviceBastion
	case KindSocks:
		return serviceSocks
	case KindManagement:
		return "management"
	case KindFiles:
		return prefixFiles + s.Path[1:]
	case KindHTTP, KindH2C, KindStream:
		return s.URL.String()
	}
	return ""
}

// String is Text without the password.
func (s Service) String() string {
	if s.URL != nil {
		return s.URL.Redacted()
	}
	return s.Text()
}

// OriginScheme is the scheme to speak to the origin: "http" or "https", also for ws, wss, h2c, unix and the built-in demo
// page; it is empty for services that speak no HTTP.
func (s Service) OriginScheme() string {
	switch s.Kind {
	case KindHTTP:
		if s.URL.Scheme == "https" || s.URL.Scheme == "wss" {
			return "https"
		}
		return "http"
	case KindH2C, KindUnix:
		return "http"
	case KindUnixTLS, KindHelloWorld:
		return "https"
	case KindStatus, KindStream, KindBastion, KindSocks, KindManagement, KindFiles:
	}
	return ""
}
