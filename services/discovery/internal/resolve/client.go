package resolve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	// udpSize is the largest response over UDP, in bytes; the query for a longer one is repeated over TCP.
	udpSize = 1232
	// dotTimeout bounds one query over TLS, connection included (docs/spec/wire.md 2.1).
	dotTimeout = 15 * time.Second
	// maxAliases bounds a chain of CNAME records.
	maxAliases = 8
	// resolvConf is where the system says which name servers it uses.
	resolvConf = "/etc/resolv.conf"
)

// Config names the servers to query.
type Config struct {
	// Server is the name server's host:port; empty uses the system's.
	Server string
	// DoTAddr is the host:port of the server to query over TLS when the first way fails; empty for none.
	DoTAddr string
	// DoTTLS gives the configuration for the next connection to it, with the server's name.
	DoTTLS func() *tls.Config
	// Timeout bounds one query.
	Timeout time.Duration
}

// Client queries name servers. One call of Static or Regions at a time.
type Client struct {
	cfg Config
	// last is the address that each entry of a static list resolved to last.
	last map[string]netip.AddrPort
}

// New makes a client.
func New(cfg Config) *Client { return &Client{cfg: cfg, last: map[string]netip.AddrPort{}} }

// way is one way to send a query.
type way int

const (
	plain way = iota
	overTLS
)

// query sends one query, following aliases, and returns the records of the response. tunnel.ErrNotFound says that the name
// does not exist or has no such record.
func (c *Client) query(ctx context.Context, w way, name string, qtype uint16) ([]dns.RR, error) {
	what := dns.TypeToString[qtype] + " " + name
	for range maxAliases {
		records, err := c.exchange(ctx, w, name, qtype)
		if err != nil {
			return nil, fmt.Errorf("lookup of %s: %w", what, err)
		}
		alias := ""
		var found []dns.RR
		for _, rr := range records {
			switch {
			case rr.Header().Rrtype == qtype:
				found = append(found, rr)
			case rr.Header().Rrtype == dns.TypeCNAME:
				if cname, ok := rr.(*dns.CNAME); ok {
					alias = cname.Target
				}
			}
		}
		if len(found) > 0 {
			return found, nil
		}
		if alias == "" {
			return nil, fmt.Errorf("lookup of %s: %w", what, tunnel.ErrNotFound)
		}
		name = alias
	}
	return nil, fmt.Errorf("lookup of %s: more than %d aliases", what, maxAliases)
}

// exchange returns the answer section of the first successful response.
func (c *Client) exchange(ctx context.Context, w way, name string, qtype uint16) ([]dns.RR, error) {
	servers, err := c.servers(w)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, server := range servers {
		reply, err := c.exchangeWith(ctx, w, server, name, qtype)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("server %s: %w", server, err))
		case reply.Rcode == dns.RcodeSuccess:
			return reply.Answer, nil
		case reply.Rcode == dns.RcodeNameError:
			return nil, fmt.Errorf("server %s: %w", server, tunnel.ErrNotFound)
		default:
			errs = append(errs, fmt.Errorf("server %s: response code %s", server, dns.RcodeToString[reply.Rcode]))
		}
	}
	return nil, errors.Join(errs...)
}

func (c *Client) exchangeWith(ctx context.Context, w way, server, name string, qtype uint16) (*dns.Msg, error) {
	query := new(dns.Msg)
	query.SetQuestion(dns.Fqdn(name), qtype)
	query.SetEdns0(udpSize, false)
	client := &dns.Client{Net: "udp", Timeout: c.cfg.Timeout, UDPSize: udpSize}
	if w == overTLS {
		client.Net, client.TLSConfig, client.Timeout = "tcp-tls", c.cfg.DoTTLS(), dotTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, client.Timeout)
	defer cancel()
	reply, _, err := client.ExchangeContext(ctx, query, server)
	if err == nil && reply.Truncated && w == plain {
		client.Net = "tcp"
		reply, _, err = client.ExchangeContext(ctx, query, server)
	}
	return reply, err
}

// servers lists the servers to query. The system's configuration is read each time, since it follows the network.
func (c *Client) servers(w way) ([]string, error) {
	switch {
	case w == overTLS:
		return []string{c.cfg.DoTAddr}, nil
	case c.cfg.Server != "":
		return []string{c.cfg.Server}, nil
	}
	system, err := dns.ClientConfigFromFile(resolvConf)
	if err != nil {
		return nil, fmt.Errorf("system resolver: %w", err)
	}
	if len(system.Servers) == 0 {
		return nil, fmt.Errorf("system resolver: %s names no server", resolvConf)
	}
	servers := make([]string, len(system.Servers))
	for i, s := range system.Servers {
		servers[i] = net.JoinHostPort(s, system.Port)
	}
	return servers, nil
}

// addresses finds the addresses of a host, one that is an address already included. The system's way honours the hosts
// file and the order that the system prefers; addresses from any other server are IPv4 first.
func (c *Client) addresses(ctx context.Context, w way, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	if w == plain && c.cfg.Server == "" {
		ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
		defer cancel()
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", strings.TrimSuffix(host, "."))
		if err != nil {
			return nil, fmt.Errorf("lookup of %s: %w", host, err)
		}
		return found, nil
	}
	var found []netip.Addr
	var errs []error
	for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		records, err := c.query(ctx, w, host, qtype)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, rr := range records {
			if a, ok := address(rr); ok {
				found = append(found, a)
			}
		}
	}
	if len(found) == 0 {
		return nil, errors.Join(errs...)
	}
	return found, nil
}

func address(rr dns.RR) (netip.Addr, bool) {
	var a netip.Addr
	var ok bool
	switch rr := rr.(type) {
	case *dns.A:
		a, ok = netip.AddrFromSlice(rr.A)
	case *dns.AAAA:
		a, ok = netip.AddrFromSlice(rr.AAAA)
	}
	return a.Unmap(), ok
}
