package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/tests/proc"
)

const (
	connections  = 4
	startTimeout = 60 * time.Second
	fill         = time.Second
	settle       = 2 * time.Second // after the last connection: prechecks and timers of the start are over
)

// connector is a connector under test: one or more processes.
type connector struct {
	counted []*exec.Cmd // their cost is the figure
	helpers []*exec.Cmd // the store: needed, not counted
	dir     string
}

// stop ends all processes, those of the connector first.
func (c *connector) stop() {
	for _, p := range append(c.counted, c.helpers...) {
		_ = p.Process.Signal(syscall.SIGTERM) // the process may have ended
	}
	for _, p := range append(c.counted, c.helpers...) {
		timer := time.AfterFunc(10*time.Second, func() { _ = p.Process.Kill() })
		_ = p.Wait() // the exit code does not matter here
		timer.Stop()
	}
	_ = os.RemoveAll(c.dir)
}

func (c *connector) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, p := range c.counted {
		t, err := proc.CPUTime(p.Process.Pid)
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}

func (c *connector) resident() (int64, error) {
	var sum int64
	for _, p := range c.counted {
		n, err := proc.ResidentBytes(p.Process.Pid)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// launcher starts processes and keeps them for stop.
type launcher struct {
	ctx     context.Context //nolint:containedctx // it lives as long as one call of launch
	verbose bool
	// protocol is the transport towards the edge.
	protocol tunnel.Protocol
	*connector
}

func (l launcher) start(counted bool, env []string, path string, args ...string) error {
	cmd := exec.CommandContext(l.ctx, path, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
	if l.verbose {
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", filepath.Base(path), err)
	}
	if counted {
		l.counted = append(l.counted, cmd)
	} else {
		l.helpers = append(l.helpers, cmd)
	}
	return nil
}

// launch starts one variant against the edge.
func launch(ctx context.Context, o options, variant string, e *edge, origin string) (*connector, error) {
	dir, err := os.MkdirTemp("", "culvert-bench-")
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	l := launcher{ctx: ctx, verbose: o.verbose, protocol: o.protocol, connector: &connector{dir: dir}}
	switch variant {
	case "one":
		err = l.whole(filepath.Join(o.binDir, "culvert"), e, origin)
	case "peer":
		err = l.whole(o.peer, e, origin)
	case "unix":
		err = l.split(o.binDir, e, origin, "unix:"+filepath.Join(dir, "proxy.sock"))
	case "tls":
		var port int
		if port, err = freePort(); err == nil {
			err = l.split(o.binDir, e, origin, fmt.Sprintf("tcp:127.0.0.1:%d", port))
		}
	default:
		err = fmt.Errorf("unknown variant %q", variant)
	}
	if err != nil {
		l.stop()
		return nil, err
	}
	return l.connector, nil
}

// whole runs a connector that is one process, by the command line that every such connector takes.
func (l launcher) whole(path string, e *edge, origin string) error {
	args := []string{
		"tunnel",
		"--no-autoupdate",
		"--protocol",
		string(l.protocol),
		"--cacert",
		e.caPath,
		"--url",
		"http://" + origin,
		"--metrics",
		"127.0.0.1:0",
		"--loglevel",
		"warn",
	}
	for _, a := range e.addrs {
		args = append(args, "--edge", a.String())
	}
	return l.start(true, []string{"TUNNEL_TOKEN=" + credential.Token(credentials())}, path, append(args, "run")...)
}

// split runs every part as a process of its own, with a real Redis.
func (l launcher) split(bin string, e *edge, origin, endpoint string) error {
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		return errors.New("the split variants need redis-server in PATH")
	}
	sock := filepath.Join(l.dir, "redis.sock")
	if err := l.start(false, nil, redis, "--port", "0", "--unixsocket", sock, "--save", "", "--dir", l.dir); err != nil {
		return err
	}
	// The store starts before the connector, as in production; its start-up is not measured.
	for !exists(sock) {
		if err := wait(l.ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	pki := filepath.Join(l.dir, "pki")
	if out, err := exec.CommandContext(l.ctx, filepath.Join(bin, "culvert"), "link-certs", pki).CombinedOutput(); err != nil {
		return fmt.Errorf("link certificates: %w: %s", err, out)
	}
	var static []string
	for _, a := range e.addrs {
		static = append(static, a.String())
	}
	common := []string{"CULVERT_REDIS_URL=unix://" + sock, "CULVERT_OPS_LISTEN=127.0.0.1:0", "CULVERT_LOG_LEVEL=warn"}
	for _, p := range []struct {
		name string
		env  []string
	}{
		{"discovery", []string{"CULVERT_STATIC=" + strings.Join(static, ",")}},
		{"supervisor", nil},
		{"proxy", []string{"CULVERT_LISTEN=" + endpoint, "CULVERT_TLS_DIR=" + pki, "CULVERT_ORIGIN_URL=http://" + origin}},
		{"conn-worker", []string{
			"TUNNEL_TOKEN=" + credential.Token(credentials()), "CULVERT_EDGE_CACERT=" + e.caPath,
			"CULVERT_EDGE_PROTOCOL=" + string(l.protocol), "CULVERT_LINK_TLS_DIR=" + pki, "CULVERT_LINK_SOCKET_DIR=" + l.dir,
		}},
	} {
		if err := l.start(true, append(p.env, common...), filepath.Join(bin, p.name)); err != nil {
			return err
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("free port: %w", err)
	}
	defer ln.Close()
	addr, err := netip.ParseAddrPort(ln.Addr().String())
	return int(addr.Port()), err
}

// measureVariant starts a variant, takes every figure once, and stops it.
func measureVariant(ctx context.Context, o options, variant, origin string) ([]result, error) {
	dir, err := os.MkdirTemp("", "culvert-bench-edge-")
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	defer os.RemoveAll(dir)
	edgeCtx, stopEdge := context.WithCancel(ctx)
	e, err := startEdge(edgeCtx, dir, o.protocol)
	if err != nil {
		stopEdge()
		return nil, err
	}
	defer e.stop()
	defer stopEdge()

	began := time.Now()
	c, err := launch(ctx, o, variant, e, origin)
	if err != nil {
		return nil, err
	}
	defer c.stop()
	startCtx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("start timeout"))
	defer cancel()
	if err := e.waitFor(startCtx, 1); err != nil {
		return nil, err
	}
	first := time.Since(began)
	if err := e.waitFor(startCtx, connections); err != nil {
		return nil, err
	}
	m := &measurement{variant: variant, c: c, e: e}
	m.add("start to first connection", "ms", float64(first.Microseconds())/1e3)
	m.add("start to all connections", "ms", float64(time.Since(began).Microseconds())/1e3)
	switch o.only {
	case onlyStart:
		return m.results, nil
	case onlyTail:
		err = m.tails(ctx, o)
	default:
		err = m.everything(ctx, o)
	}
	return m.results, err
}

// everything takes the figures of a connector that runs.
func (m *measurement) everything(ctx context.Context, o options) error {
	if err := m.warm(ctx); err != nil {
		return err
	}
	if err := m.idle(ctx); err != nil {
		return err
	}
	for _, n := range o.inFlight {
		if err := m.small(ctx, n, o.measure); err != nil {
			return err
		}
	}
	for _, up := range []bool{false, true} {
		if err := m.bulk(ctx, o.bulkMiB, up); err != nil {
			return err
		}
	}
	rss, err := m.c.resident()
	if err != nil {
		return err
	}
	m.add("resident after load", "MiB", float64(rss)/(1<<20))
	return nil
}

// measurement collects the figures of one variant in one round.
type measurement struct {
	variant string
	c       *connector
	e       *edge
	results []result
}

func (m *measurement) add(name, unit string, value float64) {
	m.results = append(m.results, result{Variant: m.variant, Case: name, Unit: unit, Value: value})
}

// warm sends a few requests until they work: a split connector may be connected before its proxy is known.
func (m *measurement) warm(ctx context.Context) error {
	var err error
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline) && ctx.Err() == nil; {
		if _, err = small(ctx, m.e, 2, 200*time.Millisecond); err == nil {
			return nil
		}
	}
	return fmt.Errorf("warm-up: %w", err)
}

// idle waits until the start is over and measures the cost of an idle connector.
func (m *measurement) idle(ctx context.Context) error {
	if err := wait(ctx, settle); err != nil {
		return err
	}
	rss, err := m.c.resident()
	if err != nil {
		return err
	}
	before, err := m.c.cpu()
	if err != nil {
		return err
	}
	const span = 2 * time.Second
	if err := wait(ctx, span); err != nil {
		return err
	}
	after, err := m.c.cpu()
	if err != nil {
		return err
	}
	m.add("resident when idle", "MiB", float64(rss)/(1<<20))
	m.add("CPU when idle", "ms/s", float64((after-before).Milliseconds())/span.Seconds())
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (m *measurement) small(ctx context.Context, n int, d time.Duration) error {
	// The first requests fill the pools of connections; this is not part of the cost of a request.
	if _, err := small(ctx, m.e, n, min(d, fill)); err != nil {
		return err
	}
	before, err := m.c.cpu()
	if err != nil {
		return err
	}
	f, err := small(ctx, m.e, n, d)
	if err != nil {
		return err
	}
	after, err := m.c.cpu()
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%d in flight: ", n)
	m.add(name+"per CPU-second", "requests", float64(f.requests)/(after-before).Seconds())
	m.add(name+"per second", "requests", float64(f.requests)/d.Seconds())
	m.add(name+"p50", "us", float64(f.p50.Microseconds()))
	m.add(name+"p99", "us", float64(f.p99.Microseconds()))
	return nil
}

func (m *measurement) bulk(ctx context.Context, mib int, up bool) error {
	before, err := m.c.cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := bulk(ctx, m.e, mib, up); err != nil {
		return err
	}
	took := time.Since(began)
	after, err := m.c.cpu()
	if err != nil {
		return err
	}
	name := "bulk down: "
	if up {
		name = "bulk up: "
	}
	m.add(name+"per CPU-second", "MB", float64(mib<<20)/1e6/(after-before).Seconds())
	m.add(name+"per second", "MB", float64(mib<<20)/1e6/took.Seconds())
	return nil
}
