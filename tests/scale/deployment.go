package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	connworker "github.com/culvert-tunnel/culvert/services/conn-worker"
	"github.com/culvert-tunnel/culvert/services/discovery"
)

// slowScript is the most time that one script may take of the server. It is judged by the benchmark of the scripts in pkg/redisstore: here
// the server may wait for a processor, and the waiting counts.
const slowScript = 5 * time.Millisecond

// deployment is a store, a discovery, supervisors, workers, and their edge.
type deployment struct {
	size  size
	o     options
	dir   string
	log   *slog.Logger
	edges *edges
	addrs []netip.AddrPort
	roots string

	redis *exec.Cmd
	// direct reaches the store past the relays.
	direct *redis.Client
	// planners and holders count the commands of supervisors, and those of workers and the discovery.
	planners, holders *relay
	supervisors       *exec.Cmd
	profiles          profiles

	cancel  context.CancelFunc
	running sync.WaitGroup
	mu      sync.Mutex
	fault   error
}

// deploy starts a store. Nothing else runs yet.
func deploy(ctx context.Context, o options, s size, part string) (d *deployment, err error) {
	d = &deployment{size: s, o: o, edges: newEdges(), profiles: profiles{dir: o.profiles, name: part + "-workers"}}
	d.log = slog.New(slog.DiscardHandler)
	if o.verbose {
		d.log = newLogger()
	}
	ctx, d.cancel = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			d.stop()
		}
	}()
	if d.dir, err = os.MkdirTemp("", "culvert-scale-"); err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	if o.sessions == inMemory {
		for i := range addresses {
			d.addrs = append(d.addrs, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}), 7844))
		}
	} else if d.addrs, d.roots, err = d.edges.listen(ctx, d.dir, tunnel.Protocol(o.sessions)); err != nil {
		return nil, err
	}
	addr, err := d.startRedis(ctx)
	if err != nil {
		return nil, err
	}
	if d.planners, err = newRelay(ctx, addr, o.roundTrip); err != nil {
		return nil, err
	}
	if d.holders, err = newRelay(ctx, addr, o.roundTrip); err != nil {
		return nil, err
	}
	return d, nil
}

// startRedis starts a Redis that keeps nothing on disk, and notes what takes long.
func (d *deployment) startRedis(ctx context.Context) (addr string, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
	if err != nil {
		return "", fmt.Errorf("free port: %w", err)
	}
	addr = ln.Addr().String()
	_ = ln.Close() // it is for the server now
	_, port, _ := strings.Cut(addr, ":")
	d.redis = exec.CommandContext(ctx, "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--maxmemory-policy", "noeviction", "--dir", d.dir,
		"--slowlog-log-slower-than", strconv.FormatInt(slowScript.Microseconds(), 10), "--slowlog-max-len", "10000")
	d.redis.Cancel = func() error { return d.redis.Process.Signal(syscall.SIGTERM) }
	if err := d.redis.Start(); err != nil {
		d.redis = nil
		return "", fmt.Errorf("redis-server: %w", err)
	}
	d.direct = redis.NewClient(&redis.Options{Addr: addr, Protocol: 2, DisableIdentity: true})
	for {
		err := d.direct.Ping(ctx).Err()
		if err == nil {
			return addr, nil
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return "", fmt.Errorf("redis-server: %w", err)
		}
	}
}

// start starts a service in this process until the deployment stops.
func (d *deployment) start(
	ctx context.Context, url string, service func(*redisstore.Store) (func(context.Context) error, error), cause error,
) error {
	store, err := redisstore.OpenURL(ctx, url)
	if err != nil {
		return err
	}
	serve, err := service(store)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() { cancel(cause) })
	d.running.Go(func() {
		err := serve(own)
		d.mu.Lock()
		d.fault = errors.Join(d.fault, err)
		d.mu.Unlock()
		_ = store.Close()
	})
	return nil
}

// startAll starts the discovery, the supervisors and the workers, all at once.
func (d *deployment) startAll(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	stopStore := d.cancel
	d.cancel = func() {
		cancel()
		d.running.Wait()
		stopStore()
	}
	d.profiles.next()
	if err := d.startSupervisors(ctx); err != nil {
		return err
	}
	url := "redis://" + d.holders.addr
	if err := d.start(ctx, url, d.discovery, nil); err != nil {
		return err
	}
	creds := make([]tunnel.Credentials, d.size.tunnels)
	for i := range creds {
		creds[i] = tunnel.Credentials{AccountTag: "scale", Secret: make([]byte, 32), TunnelID: tunnel.ID{6: 0x40, 8: 0x80}}
		binary.BigEndian.PutUint32(creds[i].TunnelID[:4], uint32(i)*0x9e3779b1) //nolint:gosec // spread over the ids
	}
	for n := range d.size.workers {
		service := func(store *redisstore.Store) (func(context.Context) error, error) { return d.worker(n, store, creds) }
		if err := d.start(ctx, url, service, connworker.ErrKilled); err != nil {
			return err
		}
	}
	return nil
}

func (d *deployment) startSupervisors(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("supervisors: %w", err)
	}
	d.supervisors = exec.CommandContext(ctx, self, roleSupervisors, "-url", "redis://"+d.planners.addr,
		"-count", strconv.Itoa(d.size.supervisors), "-profiles", d.o.profiles)
	d.supervisors.Cancel = func() error { return d.supervisors.Process.Signal(syscall.SIGTERM) }
	d.supervisors.Stderr = io.Discard
	if d.o.verbose {
		d.supervisors.Stderr = os.Stderr
	}
	if err := d.supervisors.Start(); err != nil {
		d.supervisors = nil
		return fmt.Errorf("supervisors: %w", err)
	}
	return nil
}

func (d *deployment) discovery(store *redisstore.Store) (func(context.Context) error, error) {
	cfg := discovery.Default()
	for _, a := range d.addrs {
		cfg.Static = append(cfg.Static, a.String())
	}
	s, err := discovery.New(cfg, discovery.Deps{Store: store, Logger: d.log})
	if err != nil {
		return nil, err
	}
	return s.Run, nil
}

func (d *deployment) worker(n int, store *redisstore.Store, creds []tunnel.Credentials) (func(context.Context) error, error) {
	cfg := connworker.Default()
	cfg.ID, cfg.Host = fmt.Sprintf("worker-%03d", n), fmt.Sprintf("host-%03d", n)
	deps := connworker.Deps{
		Store: store, Carrier: link.NewDirect(link.HandlerFunc(func(_ context.Context, _ link.Meta, s link.Stream) { s.Abort() })),
		Logger: d.log, Version: "scale", Credentials: creds,
	}
	if d.o.sessions == inMemory {
		deps.Dialer = d.edges
	} else {
		cfg.Edge.CACert, cfg.Edge.Protocol = d.roots, d.o.sessions
	}
	s, err := connworker.New(cfg, deps)
	if err != nil {
		return nil, err
	}
	return s.Run, nil
}

// nextPhase begins a new profile in all processes.
func (d *deployment) nextPhase() {
	if d.o.profiles == "" {
		return
	}
	d.profiles.next()
	_ = d.supervisors.Process.Signal(syscall.SIGUSR1) // without it the profile goes on
}

// stop ends everything that was started.
func (d *deployment) stop() {
	d.profiles.stop()
	d.cancel()
	d.running.Wait()
	for _, p := range []*exec.Cmd{d.supervisors, d.redis} {
		if p != nil {
			_ = p.Wait() // it was told to end
		}
	}
	d.edges.running.Wait()
	for _, r := range []*relay{d.planners, d.holders} {
		if r != nil {
			r.running.Wait()
		}
	}
	if d.direct != nil {
		_ = d.direct.Close() // nothing is on its way
	}
	_ = os.RemoveAll(d.dir)
}

// problem is why the figures count for nothing, or nil.
func (d *deployment) problem() error {
	d.mu.Lock()
	err := d.fault
	d.mu.Unlock()
	for _, r := range []*relay{d.planners, d.holders} {
		_, fault := r.counted()
		err = errors.Join(err, fault)
	}
	return err
}
