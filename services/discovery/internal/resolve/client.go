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
	// Changed is called when a server's breaker changes its state, Gone when a server is not used any more. Either may be nil.
	Changed func(server string, from, to State)
	Gone    func(server string)
	// PublicDomain is the domain whose names, and the targets of whose SRV records, have public addresses only; empty for none.
	PublicDomain string
	// Refused is told why addresses were refused; it may be nil.
	Refused func(error)
}

// Client queries name servers. One call of Static or Regions at a time.
type Client struct {
	cfg      Config
	breakers *breakers
	system   *net.Resolver
	// systemServers lists the system's name servers.
	systemServers func() ([]string, error)
	// last is the address that each entry of a static list resolved to last.
	last map[string]netip.AddrPort
}

// New makes a client.
func New(cfg Config) *Client {
	c := &Client{cfg: cfg, last: map[string]netip.AddrPort{}, breakers: newBreakers(cfg.Changed, cfg.Gone), systemServers: configured}
	c.system = &net.Resolver{Dial: c.dialSystem}
	return c
}

// Reset forgets which servers failed: after a change of the network they may work.
func (c *Client) Reset() { c.breakers.keep() }

// dialSystem dials for the system's way, which passes over a server that rests.
func (c *Client) dialSystem(ctx context.Context, network, server string) (net.Conn, error) {
	if c.breakers.resting(server) {
		return nil, errResting
	}
	var d net.Dialer
	return d.DialContext(ctx, network, server)
}

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

// exchange returns the answer section of the first successful response. Servers whose breaker is open are passed over.
func (c *Client) exchange(ctx context.Context, w way, name string, qtype uint16) ([]dns.RR, error) {
	servers, err := c.servers(w)
	if err != nil {
		return nil, err
	}
	var errs []error
	for i, server := range servers {
		left := len(servers) - i - 1
		if w == plain {
			left += c.serversOverTLS()
		}
		reply, err := c.guarded(ctx, w, server, left, name, qtype)
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

// guarded sends a query to a server if its breaker lets it. left is the number of servers that may be tried after it.
func (c *Client) guarded(ctx context.Context, w way, server string, left int, name string, qtype uint16) (*dns.Msg, error) {
	done, err := c.breakers.allow(server)
	if err != nil {
		return nil, err
	}
	limit := c.cfg.Timeout
	if w == overTLS {
		limit = dotTimeout
	}
	reply, err := c.exchangeWith(ctx, w, server, c.limit(ctx, limit, left), name, qtype)
	done(verdict(ctx, reply, err))
	return reply, err
}

// serversOverTLS is the number of servers that are queried over TLS.
func (c *Client) serversOverTLS() int {
	if c.cfg.DoTAddr == "" {
		return 0
	}
	return 1
}

// limit is the time limit of one query before the deadline of ctx, with left servers behind it.
func (c *Client) limit(ctx context.Context, limit time.Duration, left int) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return limit
	}
	return share(limit, time.Until(deadline), left)
}

func (c *Client) exchangeWith(
	ctx context.Context, w way, server string, limit time.Duration, name string, qtype uint16,
) (*dns.Msg, error) {
	query := new(dns.Msg)
	query.SetQuestion(dns.Fqdn(name), qtype)
	query.SetEdns0(udpSize, false)
	client := &dns.Client{Net: "udp", Timeout: limit, UDPSize: udpSize}
	if w == overTLS {
		client.Net, client.TLSConfig = "tcp-tls", c.cfg.DoTTLS()
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
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
	servers, err := c.systemServers()
	if err != nil {
		return nil, err
	}
	c.breakers.keep(append([]string{c.cfg.DoTAddr}, servers...)...)
	return servers, nil
}

// configured lists the servers that the system's configuration names.
func configured() ([]string, error) {
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
		ctx, cancel := context.WithTimeout(ctx, c.limit(ctx, c.cfg.Timeout, c.serversOverTLS()))
		defer cancel()
		found, err := c.system.LookupNetIP(ctx, "ip", strings.TrimSuffix(host, "."))
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
