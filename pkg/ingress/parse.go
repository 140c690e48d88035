package ingress

import (
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
)

const (
	serviceHello   = "hello_world"
	serviceSocks   = "socks-proxy"
	serviceBastion = "bastion"
	prefixUnix     = "unix:"
	prefixUnixTLS  = "unix+tls:"
	prefixStatus   = "http_status:"
	prefixFiles    = "file:///"

	proxyTypeSocks = "socks"

	minStatus, maxStatus = 100, 999
)

// parseService tries the forms in the order of docs/spec/ingress.md 6.1. bastionMode is the effective setting; it replaces
// only services that are URLs.
func parseService(text string, bastionMode bool) (Service, error) {
	switch {
	case strings.HasPrefix(text, prefixUnix):
		return Service{Kind: KindUnix, Path: strings.TrimPrefix(text, prefixUnix)}, nil
	case strings.HasPrefix(text, prefixUnixTLS):
		return Service{Kind: KindUnixTLS, Path: strings.TrimPrefix(text, prefixUnixTLS)}, nil
	case strings.HasPrefix(text, prefixStatus):
		return parseStatus(strings.TrimPrefix(text, prefixStatus))
	case text == serviceHello || text == "hello-world":
		return Service{Kind: KindHelloWorld}, nil
	case text == serviceSocks:
		return Service{Kind: KindSocks}, nil
	case text == serviceBastion || bastionMode:
		return Service{Kind: KindBastion}, nil
	case strings.HasPrefix(text, prefixFiles):
		return parseFiles(text)
	}
	return parseURL(text)
}

// parseFiles reads file:///DIR. The path is taken as it is, without escapes. The reference refuses such a service: it has no host.
func parseFiles(text string) (Service, error) {
	name := path.Clean("/" + strings.TrimPrefix(text, prefixFiles))
	if name == "/" || strings.ContainsRune(name, 0) {
		return Service{}, fmt.Errorf("%s names no directory, please write file:///DIRECTORY", text)
	}
	return Service{Kind: KindFiles, Path: name}, nil
}

func parseStatus(text string) (Service, error) {
	status, err := strconv.Atoi(text)
	if err != nil {
		return Service{}, fmt.Errorf("invalid HTTP status code: %w", err)
	}
	if status < minStatus || status > maxStatus {
		return Service{}, fmt.Errorf("invalid HTTP status code: %d", status)
	}
	return Service{Kind: KindStatus, Status: status}, nil
}

func parseURL(text string) (Service, error) {
	u, err := url.Parse(text)
	if err != nil {
		return Service{}, err // the text of the URL parser is the whole message
	}
	if u.Scheme == "" || u.Hostname() == "" {
		return Service{}, fmt.Errorf("%s is an invalid address, please make sure it has a scheme and a hostname", text)
	}
	if u.Path != "" {
		return Service{}, fmt.Errorf("%s is an invalid address, ingress rules don't support proxying to a different path"+
			" on the origin service. The path will be the same as the eyeball request's path", text)
	}
	return serviceForURL(u), nil
}

// serviceForURL chooses the kind by the scheme, which url.Parse has put in lower case. An unknown scheme is a stream
// service, as in the reference, but without a default port (docs/spec/ingress.md D16).
func serviceForURL(u *url.URL) Service {
	switch u.Scheme {
	case "http", "https", "ws", "wss":
		return Service{Kind: KindHTTP, URL: u}
	case "h2c":
		return Service{Kind: KindH2C, URL: u}
	}
	if port, known := defaultPort(u.Scheme); known && u.Port() == "" {
		u.Host = strings.TrimSuffix(u.Host, ":") + ":" + port
	}
	return Service{Kind: KindStream, URL: u}
}

// defaultPort gives the port of a stream service that names none.
func defaultPort(scheme string) (port string, known bool) {
	switch scheme {
	case "ssh":
		return "22", true
	case "rdp":
		return "3389", true
	case "smb":
		return "445", true
	case "tcp":
		return "7864", true
	}
	return "", false
}
