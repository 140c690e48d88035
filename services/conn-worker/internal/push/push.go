package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/relay"
)

// Target is one run of one proxy. A proxy that was restarted has lost the configurations that it got before.
type Target struct {
	link.Proxy
	// Instance is different in each run of a proxy.
	Instance string
}

var errNoProxy = errors.New("no proxy could be reached")

// Pusher sends configurations to the proxies in other processes, and the last ones again to proxies that come later: those get
// no flows before they have them. It has connections of its own, because a configuration must reach a proxy before flows may.
type Pusher struct {
	balancer *link.Balancer
	log      *slog.Logger

	// pushing serialises pushes and replays. It guards last, and is locked before mu.
	pushing sync.Mutex
	last    map[tunnel.ID]remoteconfig.Update

	// mu guards targets.
	mu      sync.Mutex
	targets map[Target]versions
}

// versions says which version of each tunnel's configuration a target has been sent.
type versions map[tunnel.ID]int32

// behind reports whether a target with these versions lacks u.
func (v versions) behind(u remoteconfig.Update) bool {
	has, known := v[u.Tunnel]
	return !known || has < u.Version
}

var _ relay.Applier = (*Pusher)(nil)

// New makes a pusher that reaches the proxies through b, which it owns from then on.
func New(b *link.Balancer, log *slog.Logger) *Pusher {
	return &Pusher{
		balancer: b, log: log, last: map[tunnel.ID]remoteconfig.Update{}, targets: map[Target]versions{},
	}
}

// Apply pushes a configuration to every known proxy. It succeeds when all proxies that could be reached have applied it; one
// that could not be reached gets it later. When none could be reached, the error is no rejection: the edge tries again.
func (p *Pusher) Apply(ctx context.Context, u remoteconfig.Update) (int32, error) {
	p.pushing.Lock()
	defer p.pushing.Unlock()
	if last, known := p.last[u.Tunnel]; known && u.Version <= last.Version {
		return last.Version, nil
	}
	u.Document = slices.Clone(u.Document)
	results := p.spread(ctx, p.known(), func(ctx context.Context, to Target) (remoteconfig.Result, error) {
		return p.send(ctx, to, u)
	})
	if len(results) == 0 {
		return p.current(u.Tunnel), errNoProxy
	}
	lowest := remoteconfig.Result{Applied: math.MaxInt32}
	for _, r := range results {
		lowest.Applied = min(lowest.Applied, r.Applied)
		if r.Rejection != "" {
			lowest.Rejection = r.Rejection
		}
	}
	applied, err := lowest.Unpack(u.Version)
	if err != nil {
		return applied, err
	}
	p.last[u.Tunnel] = u
	for t := range results {
		p.mark(t, u)
	}
	p.log.InfoContext(ctx, "configuration pushed to the proxies", slog.String(logkey.TunnelID, u.Tunnel.String()),
		slog.Int(logkey.Version, int(u.Version)), slog.Int(logkey.Proxies, len(results)))
	return applied, nil
}

func (p *Pusher) current(id tunnel.ID) int32 {
	if last, known := p.last[id]; known {
		return last.Version
	}
	return remoteconfig.LocalVersion
}

// Admit replaces the set of proxies, sends each the last configurations that it lacks, and returns the proxies that may get flows:
// those that lack none, or all if there is no such proxy.
func (p *Pusher) Admit(ctx context.Context, present []Target) []link.Proxy {
	all := make([]link.Proxy, len(present))
	p.mu.Lock()
	next := map[Target]versions{}
	for i, t := range present {
		all[i] = t.Proxy
		if next[t] = p.targets[t]; next[t] == nil {
			next[t] = versions{}
		}
	}
	p.targets = next
	p.mu.Unlock()
	p.balancer.SetProxies(all)
	complete := p.replay(ctx)
	var ready []link.Proxy
	for _, t := range present {
		if complete[t] {
			ready = append(ready, t.Proxy)
		}
	}
	if len(ready) == 0 {
		return all
	}
	return ready
}

// replay pushes the last configurations to the proxies that lack them, and returns those that lack none afterwards.
func (p *Pusher) replay(ctx context.Context) (complete map[Target]bool) {
	p.pushing.Lock()
	defer p.pushing.Unlock()
	complete = map[Target]bool{}
	lacking := map[Target][]remoteconfig.Update{}
	for t, updates := range p.lacking() {
		if len(updates) == 0 {
			complete[t] = true
			continue
		}
		lacking[t] = updates
	}
	if len(lacking) == 0 {
		return complete
	}
	for t := range p.spread(ctx, slices.Collect(maps.Keys(lacking)), func(ctx context.Context, to Target) (remoteconfig.Result, error) {
		return remoteconfig.Result{}, p.sendAll(ctx, to, lacking[to])
	}) {
		complete[t] = true
	}
	return complete
}

// lacking lists the last configurations that each target has not been sent.
func (p *Pusher) lacking() map[Target][]remoteconfig.Update {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[Target][]remoteconfig.Update, len(p.targets))
	for t, has := range p.targets {
		out[t] = nil
		for _, u := range p.last {
			if has.behind(u) {
				out[t] = append(out[t], u)
			}
		}
	}
	return out
}

// sendAll sends configurations to one proxy. One that the proxy rejects is no error: it has been tried, and others have it.
func (p *Pusher) sendAll(ctx context.Context, to Target, updates []remoteconfig.Update) error {
	for _, u := range updates {
		r, err := p.send(ctx, to, u)
		if err != nil {
			return err
		}
		p.mark(to, u)
		if _, err := r.Unpack(u.Version); err != nil {
			p.log.WarnContext(ctx, "proxy rejects the configuration that others have", slog.String(logkey.ProxyID, string(to.ID)),
				slog.Int(logkey.Version, int(u.Version)), slog.Any(logkey.Err, err))
		}
	}
	return nil
}

func (p *Pusher) known() []Target {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.targets))
}

// mark records that a target has been sent a configuration.
func (p *Pusher) mark(t Target, u remoteconfig.Update) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if has, known := p.targets[t]; known {
		has[u.Tunnel] = u.Version
	}
}

// spread runs f for every target and collects the results of those that could be reached.
func (p *Pusher) spread(
	ctx context.Context, to []Target, f func(context.Context, Target) (remoteconfig.Result, error),
) map[Target]remoteconfig.Result {
	var wg sync.WaitGroup
	var mu sync.Mutex
	results := map[Target]remoteconfig.Result{}
	for _, t := range to {
		wg.Go(func() {
			r, err := f(ctx, t)
			if err != nil {
				p.log.WarnContext(ctx, "proxy not reached with a configuration", slog.String(logkey.ProxyID, string(t.ID)), slog.Any(logkey.Err, err))
				return // the next Admit tries again
			}
			mu.Lock()
			defer mu.Unlock()
			results[t] = r
		})
	}
	wg.Wait()
	return results
}

// send runs one flow with one configuration.
func (p *Pusher) send(ctx context.Context, to Target, u remoteconfig.Update) (remoteconfig.Result, error) {
	st := &resultStream{ctx: ctx}
	err := p.balancer.Carry(ctx, link.Flow{
		Meta: link.Meta{Kind: link.KindConfig, Tunnel: u.Tunnel}, Stream: st, First: u.Append(nil), EOF: true, Proxy: to.ID,
	})
	if err != nil {
		return remoteconfig.Result{}, err
	}
	r, err := remoteconfig.ParseResult(st.b)
	if err != nil {
		return remoteconfig.Result{}, fmt.Errorf("proxy %s: %w", to.ID, err)
	}
	return r, nil
}

// resultStream is the edge's side of a flow that has no edge: it has nothing to read after the first bytes, and keeps the
// response.
type resultStream struct {
	ctx context.Context //nolint:containedctx // link.EdgeStream has a method for it
	b   []byte
}

func (*resultStream) Read([]byte) (int, error) { return 0, io.EOF }

func (s *resultStream) Write(b []byte) (int, error) {
	if len(s.b)+len(b) > remoteconfig.MaxResult {
		return 0, io.ErrShortBuffer
	}
	s.b = append(s.b, b...)
	return len(b), nil
}

func (*resultStream) CloseWrite() error          { return nil }
func (*resultStream) CancelRead(uint64)          {}
func (*resultStream) CancelWrite(uint64)         {}
func (s *resultStream) Context() context.Context { return s.ctx }

// Close closes the connections to the proxies.
func (p *Pusher) Close() error { return p.balancer.Close() }
