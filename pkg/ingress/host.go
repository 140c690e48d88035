package ingress

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxIDNHost bounds the length of a host with letters outside ASCII that is mapped: the punycode algorithm is quadratic,
// and no longer name exists in the DNS.
const maxIDNHost = 1024

// cutPort removes the port of a host as received. A host that does not split in host and port stays as it is, so that a
// bare "[::1]" keeps its brackets (docs/spec/ingress.md 4.1).
func cutPort(host string) string {
	if h, ok := splitHostPort(host); ok {
		return h
	}
	return host
}

// splitHostPort finds the host of "host:port", "[host]:port", also with an empty port. It accepts exactly what the
// standard library's function of package net accepts, which a pure package cannot import.
func splitHostPort(s string) (string, bool) {
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return "", false
	}
	host := s[:colon]
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 || end+1 != colon {
			return "", false
		}
		host = s[1:end]
		if strings.ContainsAny(host, "[") || strings.ContainsAny(s[end+1:], "[]") {
			return "", false
		}
		return host, true
	}
	if strings.IndexByte(host, ':') >= 0 || strings.ContainsAny(s, "[]") {
		return "", false
	}
	return host, true
}

// canonicalHost gives the one form in which hosts of rules and of requests are compared: lower case, without one trailing
// dot, letters outside ASCII in punycode. absolute says that a trailing dot was cut. It allocates nothing for an ASCII host
// in lower case.
func canonicalHost(host string) (name string, absolute bool) {
	upper, ascii := false, true
	for i := 0; i < len(host); i++ {
		c := host[i]
		upper = upper || ('A' <= c && c <= 'Z')
		ascii = ascii && c < utf8.RuneSelf
	}
	switch {
	case !ascii:
		host = mapLabels(host)
	case upper:
		host = strings.ToLower(host)
	}
	if len(host) > 1 && host[len(host)-1] == '.' {
		return host[:len(host)-1], true
	}
	return host, false
}

// mapLabels maps each label on its own: a label which IDNA refuses (an underscore beside an umlaut) is only lower-cased,
// so that a wildcard over the labels behind it still matches.
func mapLabels(host string) string {
	if len(host) > maxIDNHost || !utf8.ValidString(host) {
		return strings.ToLower(host)
	}
	dots := strings.NewReplacer("\u3002", ".", "\uff0e", ".", "\uff61", ".")
	labels := strings.Split(dots.Replace(host), ".")
	for i, label := range labels {
		mapped, err := idna.Lookup.ToASCII(label)
		if err != nil || (mapped == "" && label != "") {
			mapped = strings.ToLower(label)
		}
		labels[i] = mapped
	}
	return strings.Join(labels, ".")
}

// secondForm is the other text under which reports show a rule's host name: lower case and punycode; empty when there is none
// or when it is the name itself. A wildcard's suffix has one, too.
func secondForm(hostname string) string {
	prefix, rest := "", hostname
	if strings.HasPrefix(hostname, "*.") {
		prefix, rest = "*.", hostname[2:]
	}
	if rest == "" || len(rest) > maxIDNHost {
		return ""
	}
	mapped, err := idna.Lookup.ToASCII(rest)
	if err != nil || mapped == rest {
		return ""
	}
	return prefix + mapped
}
