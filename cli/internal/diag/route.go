package diag

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/cli/internal/diag/hops"
)

const (
	maxHops = "5"
	// hopTimeout is how long traceroute waits for each response, in seconds; traceTimeout bounds a whole trace, so that hops which
	// do not respond leave time for the rest.
	hopTimeout   = "5"
	traceTimeout = 30 * time.Second
)

// destination is a host to trace the route to, over one IP version.
type destination struct {
	host string
	v6   bool
}

// name is the key of the destination in network.json.
func (d destination) name() string {
	if d.v6 {
		return d.host + "-v6"
	}
	return d.host + "-v4"
}

// route is the result of one trace.
type route struct {
	to   destination
	hops []hops.Hop
	raw  string
	err  error
}

// destinations are the hosts to trace: of a connector that was given addresses of an edge, those to which it is connected, or else the
// ones that it was given; of any other connector the vendor's regions.
func destinations(flags map[string]string, connected []string) []destination {
	given := ListOf(flags["edge"])
	var all []destination
	add := func(hosts []string) {
		for _, h := range hosts {
			ip, err := netip.ParseAddr(h)
			for _, d := range []destination{{h, false}, {h, true}} {
				if (err != nil || d.v6 == ip.Is6()) && !slices.Contains(all, d) {
					all = append(all, d)
				}
			}
		}
	}
	switch {
	case len(given) == 0:
		prefix := ""
		if r := flags["region"]; r != "" {
			prefix = strings.ToLower(r) + "-"
		}
		add([]string{prefix + "region1.v2.argotunnel.com", prefix + "region2.v2.argotunnel.com"})
	case len(connected) > 0:
		add(connected)
	default:
		for _, entry := range given {
			if host, _, err := net.SplitHostPort(entry); err == nil && !strings.HasPrefix(host, "-") {
				add([]string{host})
			}
		}
	}
	return all
}

// trace traces all routes at the same time.
func trace(ctx context.Context, to []destination) []route {
	ctx, cancel := context.WithTimeout(ctx, traceTimeout)
	defer cancel()
	all := make([]route, len(to))
	var wg sync.WaitGroup
	for i, d := range to {
		wg.Go(func() {
			program := "traceroute"
			if d.v6 {
				program = "traceroute6"
			}
			if _, err := exec.LookPath(program); err != nil {
				all[i] = route{to: d, err: fmt.Errorf("%s is not installed", program)}
				return
			}
			var out bytes.Buffer
			err := runProgram(ctx, &out, program, "-I", "-w", hopTimeout, "-m", maxHops, d.host)
			all[i] = route{to: d, raw: out.String(), hops: hops.Parse(out.String()), err: err}
		})
	}
	wg.Wait()
	return all
}

// failures joins the errors of routes; the same error is there once.
func failures(routes []route) error {
	var errs []error
	seen := map[string]bool{}
	for _, r := range routes {
		if r.err != nil && !seen[r.err.Error()] {
			seen[r.err.Error()] = true
			errs = append(errs, r.err)
		}
	}
	return errors.Join(errs...)
}

// rawRoutes is the content of raw-network.txt.
func rawRoutes(routes []route) []byte {
	var b bytes.Buffer
	for _, r := range routes {
		raw := r.raw
		if strings.TrimSpace(raw) == "" {
			raw = "no content"
		}
		fmt.Fprintf(&b, "%s\n%s\n", r.to.name(), strings.TrimRight(raw, "\n"))
	}
	return b.Bytes()
}

// jsonRoutes is the content of network.json.
func jsonRoutes(routes []route) ([]byte, error) {
	m := make(map[string][]hops.Hop, len(routes))
	for _, r := range routes {
		m[r.to.name()] = r.hops
	}
	return json.Marshal(m)
}
