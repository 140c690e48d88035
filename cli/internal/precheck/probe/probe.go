package probe

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/cli/internal/precheck"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/edgeroots"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/discovery"
)

const (
	// serverName is the name that edges expect from checks (docs/spec/wire.md 3).
	serverName = "probe.cftunnel.com"
	// closeText is the reason with which a check closes its session.
	closeText = "precheck complete"
	// Budget bounds a whole run, dialTimeout one attempt.
	Budget      = 10 * time.Second
	dialTimeout = 5 * time.Second
	// retries is how often a failed check is tried again, after firstPause and then twice that.
	retries    = 2
	firstPause = time.Second
)

// Config says what to check, and how a connector would connect.
type Config struct {
	// Edge finds the addresses; with static addresses each of them is a target, else each region.
	Edge discovery.Config
	// CACert is the PEM file with the roots to trust; empty trusts the system's and the embedded ones.
	CACert      string
	PostQuantum bool
	// LocalIP is the address to dial from; the zero value lets the system choose.
	LocalIP netip.Addr
	Family  edgepool.Family
	// Asked is the value of --protocol.
	Asked protocol.Choice
	// API also checks the vendor's API.
	API bool
	// Thorough also makes handshakes with the server names of real connections, which a filter in between may refuse although it lets
	// that of the checks pass, and puts the error of a failed handshake into the report. The checks at the start of a connector do
	// not: its own connections use those names and report their errors.
	Thorough bool
	// Switchable makes no check when the record of the edge's features says so.
	Switchable bool
	// Budget bounds the run; 0 is the constant of the same name.
	Budget time.Duration
}

// target is what one row is about.
type target struct {
	name  string
	addrs []netip.AddrPort
	// err says why there are no addresses.
	err error
}

// Run makes all checks. It returns after the budget at the latest, or when ctx ends. ok is false if the checks are switched off.
func Run(ctx context.Context, cfg Config) (report precheck.Report, ok bool) {
	budget := cfg.Budget
	if budget <= 0 {
		budget = Budget
	}
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	var wg sync.WaitGroup
	var api precheck.Result
	if cfg.API {
		wg.Go(func() { api = checkAPI(ctx) })
	}
	targets, record := cfg.targets(ctx)
	if cfg.Switchable && record.SkipPrechecks {
		cancel()
		wg.Wait()
		return precheck.Report{}, false
	}
	dns := make([]precheck.Result, len(targets))
	overQUIC, overHTTP2 := slices.Clone(dns), slices.Clone(dns)
	d, tlsErr := cfg.dialer()
	for i, t := range targets {
		wg.Go(func() {
			dns[i] = cfg.resolve(ctx, &t)
			var both sync.WaitGroup
			both.Go(func() { overQUIC[i] = cfg.checkTarget(ctx, precheck.QUIC, t, tlsErr, d.quic) })
			overHTTP2[i] = cfg.checkTarget(ctx, precheck.HTTP2, t, tlsErr, d.http2)
			both.Wait()
		})
	}
	wg.Wait()
	results := slices.Concat(dns, overQUIC, overHTTP2)
	if cfg.API {
		results = append(results, api)
	}
	return precheck.Report{RunID: newRunID(), Results: results, Suggested: precheck.Suggest(results, asked(cfg.Asked))}, true
}

// newRunID makes a random UUID.
func newRunID() string {
	id, err := tunnel.NewConnectorID(rand.Reader)
	if err != nil {
		return "" // the reader of this package never fails
	}
	return id.String()
}

func asked(c protocol.Choice) tunnel.Protocol {
	switch c {
	case protocol.QUIC:
		return tunnel.QUIC
	case protocol.HTTP2, protocol.H2Mux:
		return tunnel.HTTP2
	case protocol.Auto:
	}
	return ""
}

// targets lists what to check: the addresses that an operator named, still to be resolved, or the regions of the edge with their
// addresses.
func (c Config) targets(ctx context.Context) ([]target, protocol.FeatureRecord) {
	var all []target
	if len(c.Edge.Static) > 0 {
		for _, entry := range c.Edge.Static {
			all = append(all, target{name: entry})
		}
		return all, protocol.FeatureRecord{}
	}
	pool, err := c.lookup(ctx, c.Edge)
	record, recordErr := protocol.ParseFeatures(pool.FeatureTXT)
	if recordErr != nil {
		record = protocol.FeatureRecord{} // discovery publishes valid texts only
	}
	if err != nil {
		for _, name := range expectedTargets(c.Edge.SRV) {
			all = append(all, target{name: name, err: err})
		}
		return all, record
	}
	for _, r := range pool.Regions {
		all = append(all, target{name: string(r.Name), addrs: slices.Concat(r.V4, r.V6)})
	}
	return all, record
}

// resolve makes the row about the name of a target, and finds the addresses of one that an operator named. Each is resolved by itself:
// a wrong name spoils one row.
func (c Config) resolve(ctx context.Context, t *target) precheck.Result {
	switch {
	case t.err != nil:
		return precheck.Failed(precheck.DNS, t.name, flatten(t.err))
	case len(t.addrs) > 0:
		return precheck.Passed(precheck.DNS, t.name)
	}
	one := c.Edge
	one.Static = []string{t.name}
	pool, err := c.lookup(ctx, one)
	if err != nil {
		return precheck.Failed(precheck.DNS, t.name, "")
	}
	for _, r := range pool.Regions {
		t.addrs = slices.Concat(t.addrs, r.V4, r.V6)
	}
	return precheck.Passed(precheck.DNS, t.name)
}

func (Config) lookup(ctx context.Context, edge discovery.Config) (pool edgepool.Pool, err error) {
	retry(ctx, func() bool {
		pool, err = discovery.Lookup(ctx, edge, slog.New(slog.DiscardHandler))
		return err == nil
	})
	return pool, err
}

// expectedTargets are the names that rows use when the record of the edge cannot be read: those of the vendor's regions, or the
// record itself.
func expectedTargets(srv discovery.SRV) []string {
	if srv.Domain != discovery.Default().SRV.Domain {
		return []string{srv.Record()}
	}
	prefix := ""
	if srv.Region != "" {
		prefix = strings.ToLower(srv.Region) + "-"
	}
	return []string{prefix + "region1.v2." + srv.Domain, prefix + "region2.v2." + srv.Domain}
}

// flatten writes joined errors on one line.
func flatten(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// dialer makes handshakes.
type dialer struct {
	localIP   netip.Addr
	quicTLS   []*tls.Config
	http2TLS  []*tls.Config
	localAddr net.Addr // for TCP; nil lets the system choose
}

func (c Config) dialer() (dialer, error) {
	roots, err := roots(c.CACert)
	if err != nil {
		return dialer{}, err
	}
	d := dialer{localIP: c.LocalIP}
	if c.LocalIP.IsValid() {
		d.localAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.LocalIP, 0))
	}
	d.quicTLS = withNames(quic.ClientTLS(roots, c.PostQuantum), c.Thorough)
	d.http2TLS = withNames(h2.ClientTLS(roots, c.PostQuantum), c.Thorough)
	return d, nil
}

// withNames gives the configuration for the name of the checks and, if real is set, before it the one for real connections.
func withNames(conf *tls.Config, real bool) []*tls.Config {
	check := conf.Clone()
	check.ServerName = serverName
	if real {
		return []*tls.Config{conf, check}
	}
	return []*tls.Config{check}
}

func roots(cacert string) (*x509.CertPool, error) {
	if cacert == "" {
		return edgeroots.Pool()
	}
	pem, err := os.ReadFile(cacert)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New(cacert + " has no certificate")
	}
	return pool, nil
}

// quic makes a QUIC handshake with each name.
func (d dialer) quic(ctx context.Context, addr netip.AddrPort) error {
	for _, conf := range d.quicTLS {
		session, err := quic.Dial(ctx, quic.DialConfig{Edge: addr, LocalIP: d.localIP, TLS: conf, Settings: quic.ConnectorSettings()})
		if err != nil {
			return err
		}
		_ = session.CloseWithError(0, closeText) // the handshake is what counts
	}
	return nil
}

// http2 makes a TLS handshake with each name. Its connections carry no frame of HTTP/2.
func (d dialer) http2(ctx context.Context, addr netip.AddrPort) error {
	for _, conf := range d.http2TLS {
		client := tls.Dialer{NetDialer: &net.Dialer{LocalAddr: d.localAddr}, Config: conf}
		conn, err := client.DialContext(ctx, "tcp", addr.String())
		if err != nil {
			return fmt.Errorf("tls handshake with %s: %w", addr, err)
		}
		_ = conn.Close() // the handshake is what counts
	}
	return nil
}

// checkTarget makes the row of one transport to one target: it passes if one address of either family does.
func (c Config) checkTarget(
	ctx context.Context, k precheck.Kind, t target, tlsErr error, dial func(context.Context, netip.AddrPort) error,
) precheck.Result {
	if len(t.addrs) == 0 {
		return precheck.NoAddress(k, t.name)
	}
	addrs := onePerFamily(t.addrs, c.Family)
	switch {
	case len(addrs) == 0:
		return precheck.NoFamily(k, t.name)
	case tlsErr != nil:
		return precheck.Failed(k, t.name, "TLS configuration failed: "+flatten(tlsErr))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, len(addrs))
	var wg sync.WaitGroup
	for _, a := range addrs {
		wg.Go(func() { results <- dialRetrying(ctx, a, dial) })
	}
	defer wg.Wait()
	var errs []error
	for range addrs {
		err := <-results
		if err == nil {
			cancel() // the other family is not needed any more
			return precheck.Passed(k, t.name)
		}
		errs = append(errs, err)
	}
	failed := precheck.Failed(k, t.name, "")
	if c.Thorough {
		failed.Details += ": " + flatten(errors.Join(errs...))
	}
	return failed
}

// dialRetrying gives the error of the last attempt.
func dialRetrying(ctx context.Context, a netip.AddrPort, dial func(context.Context, netip.AddrPort) error) (err error) {
	retry(ctx, func() bool {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		err = dial(ctx, a)
		return err == nil
	})
	return err
}

// onePerFamily gives the first address of each family that is allowed.
func onePerFamily(addrs []netip.AddrPort, family edgepool.Family) []netip.AddrPort {
	var out []netip.AddrPort
	for _, f := range []edgepool.Family{edgepool.V4, edgepool.V6} {
		if family != edgepool.Any && family != f {
			continue
		}
		for _, a := range addrs {
			if edgepool.FamilyOf(a.Addr()) == f {
				out = append(out, a)
				break
			}
		}
	}
	return out
}

// checkAPI connects to the vendor's API.
func checkAPI(ctx context.Context) precheck.Result {
	ok := retry(ctx, func() bool {
		d := net.Dialer{Timeout: dialTimeout}
		conn, err := d.DialContext(ctx, "tcp", precheck.APITarget)
		if err != nil {
			return false
		}
		_ = conn.Close() // the connection is what counts
		return true
	})
	if !ok {
		return precheck.Failed(precheck.API, precheck.APITarget, "")
	}
	return precheck.Passed(precheck.API, precheck.APITarget)
}

// retry calls try until it succeeds, up to three times, with pauses of one and two seconds.
func retry(ctx context.Context, try func() bool) bool {
	pause := firstPause
	for attempt := 0; ; attempt++ {
		if try() {
			return true
		}
		if attempt == retries {
			return false
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
		pause *= 2
	}
}
