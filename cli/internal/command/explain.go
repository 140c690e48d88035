package command

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

// explain prints why a URL meets its rule, what the origin gets, and the traps that the URL shows.
func (c *commands) explain(ctx context.Context, set *ingress.Set, request *ingress.Request) {
	e := set.Explain(request)
	for i, why := range e.Skipped {
		c.Println(fmt.Sprintf("Rule #%d does not match: %s", i, why))
	}
	c.Println("Origin: " + e.Origin)
	for _, text := range e.Changes {
		c.Println("Request: " + text)
	}
	if e.Rule.Origin.Access.Required {
		c.Println("Request: refused without an access token (access.required)")
	}
	if origin := e.Rule.Service.URL; origin != nil {
		e.Warnings = append(e.Warnings, unheard(ctx, &net.Resolver{}, origin)...)
	}
	for _, text := range append(e.Warnings, set.Warnings()...) {
		c.Println("Warning: " + text)
	}
}

// localDialTimeout bounds the attempt to connect to one address of this machine.
const localDialTimeout = 2 * time.Second

// lookuper finds the addresses of a host; *net.Resolver is one.
type lookuper interface {
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// unheard says at which addresses of this machine, that the name of the origin stands for, nobody listens. An origin elsewhere is not
// tried: its network may be reachable from the connector alone.
func unheard(ctx context.Context, names lookuper, origin *url.URL) []string {
	if !strings.EqualFold(origin.Hostname(), "localhost") {
		return nil
	}
	port := origin.Port()
	switch {
	case port != "":
	case origin.Scheme == "https", origin.Scheme == "wss":
		port = "443"
	default:
		port = "80"
	}
	addresses, err := names.LookupHost(ctx, origin.Hostname())
	if err != nil {
		return []string{"localhost has no address: " + err.Error()}
	}
	var all []string
	for _, address := range addresses {
		d := net.Dialer{Timeout: localDialTimeout}
		conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(address, port))
		if err != nil {
			all = append(all, fmt.Sprintf("localhost is also %s, where nobody listens on port %s; write the address that the service listens on",
				address, port))
			continue
		}
		_ = conn.Close() // it has carried nothing
	}
	if len(all) == len(addresses) {
		return []string{"nobody listens on port " + port + " of " + strings.Join(addresses, " or ") + ", which is what localhost stands for"}
	}
	return all
}
