package ingress

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/idna"
)

// SingleFlags holds the single-origin flags that were given; nil means not given (docs/spec/ingress.md 5).
type SingleFlags struct {
	HelloWorld *bool
	Bastion    *bool
	URL        *string
	UnixSocket *string
	Socks5     *bool
	// HasArgument says that the command line has an argument besides flags, which --unix-socket does not allow.
	HasArgument bool
	// Origin holds --proxy-connect-timeout and similar flags under the names of the settings that they set.
	Origin OriginSpec
}

// SingleOrigin gives the one-rule set that the flags ask for, or ErrNoRules when none of them selects an origin. The first
// of --hello-world, --bastion, --url, --unix-socket decides; a flag with the value false counts as not given.
func SingleOrigin(flags SingleFlags) (*Set, error) {
	service, err := flags.service()
	if err != nil {
		return nil, err
	}
	origin := DefaultOriginRequest()
	if err := checkProxyProtocol(flags.Origin.ProxyProtocol); err != nil {
		return nil, err
	}
	flags.Origin.apply(&origin)
	if isTrue(flags.Socks5) {
		origin.ProxyType = proxyTypeSocks
	}
	origin.BastionMode = origin.BastionMode || isTrue(flags.Bastion)
	s := &Set{
		Rules:         []Rule{{Service: service, Origin: origin}},
		OriginRequest: DefaultOriginRequest(),
		WarpRouting:   defaultWarpRouting(),
	}
	s.source = &Document{Ingress: []RuleSpec{{Service: service.Text(), OriginRequest: flags.Origin}}}
	s.source.Ingress[0].OriginRequest.BastionMode = flags.Bastion
	if isTrue(flags.Socks5) {
		socks := proxyTypeSocks
		s.source.Ingress[0].OriginRequest.ProxyType = &socks
	}
	s.finish(&Document{})
	return s, nil
}

func (f *SingleFlags) service() (Service, error) {
	switch {
	case isTrue(f.HelloWorld):
		return Service{Kind: KindHelloWorld}, nil
	case isTrue(f.Bastion):
		return Service{Kind: KindBastion}, nil
	case f.URL != nil:
		service, err := originFromURL(*f.URL)
		if err != nil {
			return Service{}, fmt.Errorf("Error validating origin URL: %w", err)
		}
		return service, nil
	case f.UnixSocket != nil:
		if f.HasArgument {
			return Service{}, errUnixAlone
		}
		return Service{Kind: KindUnix, Path: *f.UnixSocket}, nil
	}
	return Service{}, ErrNoRules
}

func isTrue(b *bool) bool { return b != nil && *b }

// originFromURL reads the value of --url. Unlike a rule's service it may lack the scheme. What follows the host is dropped,
// except that reports keep the path of a URL without a scheme, as the reference's do; requests ignore it.
func originFromURL(text string) (Service, error) {
	switch {
	case text == "":
		return Service{}, errors.New("URL should not be empty")
	case strings.HasPrefix(text, prefixUnix), strings.HasPrefix(text, prefixUnixTLS):
		return parseService(text, false)
	}
	if _, err := url.PathUnescape(text); err != nil {
		return Service{}, fmt.Errorf("URL %s has invalid escape characters ", text) // the text of the reference, with its trailing space
	}
	malformed := fmt.Errorf("URL %s has invalid format", text)
	u, ok := splitOrigin(text)
	if !ok {
		return Service{}, malformed
	}
	if !singleScheme(u.Scheme) {
		//nolint:staticcheck // the reference's text
		return Service{}, fmt.Errorf("Currently Cloudflare Tunnel does not support %s protocol.", u.Scheme)
	}
	host, err := asciiHost(u.Hostname())
	if err != nil || host == "" {
		return Service{}, malformed
	}
	clean := &url.URL{Scheme: u.Scheme, Host: host}
	if port := u.Port(); port != "" {
		clean.Host += ":" + port
	}
	if !strings.Contains(text, "://") {
		clean.Path, clean.RawPath = u.Path, u.RawPath
	}
	return serviceForURL(clean), nil
}

// splitOrigin parses the text, with http before it when it has no scheme of its own.
func splitOrigin(text string) (*url.URL, bool) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Is6() {
		text = "[" + text + "]" // a bare IPv6 address
	}
	if strings.HasPrefix(text, prefixStatus) {
		return nil, false // a service of rules, which would pass as a host with a port
	}
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	return u, err == nil && u.Host != ""
}

func singleScheme(scheme string) bool {
	switch scheme {
	case "http", "https", "rdp", "ssh", "smb", "tcp":
		return true
	}
	return false
}

// asciiHost gives a host as it goes in a URL: IPv6 in brackets, an international name in punycode.
func asciiHost(host string) (string, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Is6() {
			return "[" + host + "]", nil
		}
		return host, nil
	}
	if len(host) > maxIDNHost {
		return "", errors.New("host name too long")
	}
	return idna.ToASCII(host)
}
