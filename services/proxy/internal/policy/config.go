package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"
)

// none is the only item of a list that allows nothing.
const none = "none"

// Config is the section policy of the proxy's settings. An empty list is no limit.
type Config struct {
	AllowNetworks []string `yaml:"allow_networks" usage:"networks (CIDR) that may be reached, whatever rules say; empty is all, none is none"`
	DenyNetworks  []string `yaml:"deny_networks" usage:"networks (CIDR) that are never reached, even if allow_networks has them"`
	AllowHosts    []string `yaml:"allow_hosts" usage:"host names that may be dialled, *.name for all below; empty is all, none is none"`
	DenyHosts     []string `yaml:"deny_hosts" usage:"host names that are never dialled, *.name for all below"`
	AllowUnix     []string `yaml:"allow_unix" usage:"Unix sockets that may be reached, directories end with /; empty is all, none is none"`
	AllowFiles    []string `yaml:"allow_files" usage:"files that rules may name, directories end with /; empty is all, none is none"`
}

// Validate reports every problem, each with its path.
func (c Config) Validate() error {
	_, err := New(c)
	return err
}

// New compiles a policy.
func New(c Config) (*Policy, error) {
	p := &Policy{}
	var errs [6]error
	p.allowNets, errs[0] = networks("allow_networks", c.AllowNetworks)
	p.denyNets, errs[1] = networks("deny_networks", c.DenyNetworks)
	p.allowHosts, errs[2] = hosts("allow_hosts", c.AllowHosts)
	p.denyHosts, errs[3] = hosts("deny_hosts", c.DenyHosts)
	p.unix, errs[4] = paths("allow_unix", c.AllowUnix)
	p.files, errs[5] = paths("allow_files", c.AllowFiles)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return p, nil
}

// list holds the items of one setting. An unset one limits nothing.
type list[T any] struct {
	set   bool
	items []T
}

// compile reads the items of a setting.
func compile[T any](key string, texts []string, item func(text string) (T, error)) (list[T], error) {
	out := list[T]{set: len(texts) > 0}
	var errs []error
	for i, text := range texts {
		if text == none && len(texts) == 1 {
			continue
		}
		v, err := item(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("policy: %s: %d: %q %w", key, i, text, err))
			continue
		}
		out.items = append(out.items, v)
	}
	return out, errors.Join(errs...)
}

// has reports whether an item of the list fits.
func (l list[T]) has(fits func(T) bool) bool {
	for _, item := range l.items {
		if fits(item) {
			return true
		}
	}
	return false
}

func networks(key string, texts []string) (list[netip.Prefix], error) {
	return compile(key, texts, func(text string) (netip.Prefix, error) {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return netip.Prefix{}, errors.New("is not a network such as 10.0.0.0/8")
		}
		const mappedBits = 96 // the bits before the IPv4 address in an IPv4-mapped one
		if prefix.Addr().Is4In6() && prefix.Bits() >= mappedBits {
			prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-mappedBits)
		}
		return prefix.Masked(), nil
	})
}

func hosts(key string, texts []string) (list[string], error) {
	return compile(key, texts, func(text string) (string, error) {
		name := hostName(strings.TrimPrefix(text, "*."))
		if _, err := netip.ParseAddr(name); err == nil {
			return "", errors.New("is an IP address: use a network")
		}
		if name == "" || strings.ContainsAny(name, "*/: ") {
			return "", errors.New("is not a host name, or *. and a host name")
		}
		if strings.HasPrefix(text, "*.") {
			return "." + name, nil
		}
		return name, nil
	})
}

func paths(key string, texts []string) (list[string], error) {
	return compile(key, texts, func(text string) (string, error) {
		if !path.IsAbs(text) {
			return "", errors.New("is not an absolute path")
		}
		clean := path.Clean(text)
		if strings.HasSuffix(text, "/") && clean != "/" {
			clean += "/"
		}
		return clean, nil
	})
}

// hostName gives a name in lower case and without the dot of the root.
func hostName(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }
