package access

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/idna"
)

// Names of header fields that are part of the contract.
const (
	headerID          = "Cf-Access-Client-Id"
	headerSecret      = "Cf-Access-Client-Secret"
	headerDestination = "Cf-Access-Jump-Destination"
)

var errNoHost = errors.New("no host is given: use --hostname, the name of the application")

// target is the URL of an application. The scheme is always https, whatever was given, as in the reference.
func target(text string) (*url.URL, error) {
	if text == "" {
		return nil, errNoHost
	}
	_, rest, found := strings.Cut(text, "://")
	if !found {
		rest = text
	} else if !strings.HasPrefix(text, "http://") && !strings.HasPrefix(text, "https://") {
		return nil, fmt.Errorf("--hostname %q: the scheme is neither http nor https", text)
	}
	if a, err := netip.ParseAddr(rest); err == nil && a.Is6() {
		rest = "[" + rest + "]"
	}
	u, err := url.ParseRequestURI("https://" + rest)
	if err != nil {
		return nil, fmt.Errorf("--hostname %q: %w", text, err)
	}
	if u.Hostname() == "" {
		return nil, errNoHost
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return u, nil
	}
	ascii, err := idna.Lookup.ToASCII(u.Hostname())
	if err != nil {
		return nil, fmt.Errorf("--hostname %q: %w", text, err)
	}
	u.Host = ascii + portSuffix(u)
	return u, nil
}

func portSuffix(u *url.URL) string {
	if p := u.Port(); p != "" {
		return ":" + p
	}
	return ""
}

// override changes where a request goes, by the value of --connect-to: host, host:port, or sni:port:host. With the last one the
// certificate is not verified, as in the reference; serverName is the name in the handshake then.
func override(u *url.URL, text string) (serverName string, err error) {
	switch parts := strings.Split(text, ":"); len(parts) {
	case 1:
		u.Host = parts[0]
	case 2:
		u.Host = text
	case 3:
		u.Host, serverName = parts[2]+":"+parts[1], parts[0]
	default:
		return "", fmt.Errorf("--connect-to %q is none of HOST, HOST:PORT, SNI:PORT:HOST", text)
	}
	return serverName, nil
}

// headers reads fields as NAME: VALUE. What has no colon is ignored, as in the reference.
func headers(fields []string) http.Header {
	out := make(http.Header)
	for _, f := range fields {
		if name, val, ok := strings.Cut(f, ":"); ok {
			out.Add(strings.TrimSpace(name), strings.TrimSpace(val))
		}
	}
	return out
}

// listenAddress is HOST:PORT of a listener that is given with or without a scheme, whose usual port stands in for a missing one.
func listenAddress(text string) (string, error) {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		scheme, rest = "", text
	}
	rest, _, _ = strings.Cut(rest, "/")
	if _, _, err := net.SplitHostPort(rest); err == nil {
		return rest, nil
	}
	port, ok := map[string]string{"http": "80", "https": "443", "ssh": "22", "rdp": "3389", "smb": "445"}[scheme]
	if !ok || rest == "" {
		return "", fmt.Errorf("listener %q is not HOST:PORT", text)
	}
	return net.JoinHostPort(strings.Trim(rest, "[]"), port), nil
}
