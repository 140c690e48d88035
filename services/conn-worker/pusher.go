package connworker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/push"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/relay"
)

// localVersion is the version that every connector starts with (docs/spec/wire.md 8.6).
const localVersion int32 = -1

// target is one run of one proxy: a proxy that was started anew has forgotten what it was pushed.
type target struct {
	link.Proxy
	instance string
}

// pusher hands configurations that the edge pushes to the proxies in other processes, and the last ones again to proxies
// that come later: they get no flows before. It has a way to the proxies of its own, for a proxy must be reached before
// flows may be.
type pusher struct {
	balancer *link.Balancer
	log      *slog.Logger

	// pushing makes pushes and replays come one after another. It guards last and generation, and goes before mu.
	pushing    sync.Mutex
	last       map[tunnel.ID]push.Request
	generation int

	// mu guards targets: what generation each has.
	mu      sync.Mutex
	targets map[target]int
}

var _ relay.Configurator = (*pusher)(nil)

func newPusher(b *link.Balancer, log *slog.Logger) *pusher {
	return &pusher{
		balancer: b, log: log, last: map[tunnel.ID]push.Request{}, targets: map[target]int{},
	}
}

// UpdateConfiguration pushes a configuration to every proxy that is known. It succeeds when all that could be reached have
// applied it; one that could not gets it later.
func (p *pusher) UpdateConfiguration(ctx context.Context, id tunnel.ID, version int32, config []byte) (int32, error) {
	p.pushing.Lock()
	defer p.pushing.Unlock()
	if last, known := p.last[id]; known && version <= last.Version {
		return last.Version, nil
	}
	r := push.Request{Version: version, Config: slices.Clone(config)}
	answers := p.spread(ctx, p.known(), func(ctx context.Context, to target) (push.Answer, error) {
		return p.send(ctx, to, id, r)
	})
	if len(answers) == 0 {
		return p.current(id), errNoProxy
	}
	applied, rejected := int32(0), ""
	for i, a := range slices.Collect(maps.Values(answers)) {
		if i == 0 || a.Applied < applied {
			applied = a.Applied
		}
		if a.Error != "" {
			rejected = a.Error
		}
	}
	if rejected != "" {
		return applied, errors.New(rejected)
	}
	p.last[id] = r
	p.generation++
	p.mark(answers)
	p.log.InfoContext(ctx, "configuration pushed to the proxies", slog.String(logkey.TunnelID, id.String()),
		slog.Int(logkey.Version, int(version)), slog.Int(logkey.Proxies, len(answers)))
	return applied, nil
}

func (p *pusher) current(id tunnel.ID) int32 {
	if last, known := p.last[id]; known {
		return last.Version
	}
	return localVersion
}

// admit takes the proxies that there are, brings new ones up to date, and gives those that flows may go to: all that are
// up to date, or all if none is.
func (p *pusher) admit(ctx context.Context, present []target) []link.Proxy {
	all := make([]link.Proxy, len(present))
	p.mu.Lock()
	next := map[target]int{}
	for i, t := range present {
		all[i] = t.Proxy
		next[t] = p.targets[t]
	}
	p.targets = next
	p.mu.Unlock()
	p.balancer.SetProxies(all)
	p.replay(ctx)
	var ready []link.Proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range present {
		if p.targets[t] == p.reached() {
			ready = append(ready, t.Proxy)
		}
	}
	if len(ready) == 0 {
		return all
	}
	return ready
}

// reached is the newest generation that any proxy has; mu is held.
func (p *pusher) reached() int {
	most := 0
	for _, g := range p.targets {
		most = max(most, g)
	}
	return most
}

// replay pushes the last configurations to the proxies that do not have them.
func (p *pusher) replay(ctx context.Context) {
	p.pushing.Lock()
	defer p.pushing.Unlock()
	behind := p.known()
	p.mu.Lock()
	behind = slices.DeleteFunc(behind, func(t target) bool { return p.targets[t] == p.generation })
	p.mu.Unlock()
	if len(behind) == 0 {
		return
	}
	p.mark(p.spread(ctx, behind, func(ctx context.Context, to target) (push.Answer, error) {
		for id, r := range p.last {
			a, err := p.send(ctx, to, id, r)
			if err != nil {
				return a, err
			}
			if a.Error != "" {
				p.log.WarnContext(ctx, "proxy rejects the configuration that others have", slog.String(logkey.ProxyID, string(to.ID)),
					slog.Int(logkey.Version, int(r.Version)), slog.String(logkey.Err, a.Error))
			}
		}
		return push.Answer{}, nil
	}))
}

func (p *pusher) known() []target {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.targets))
}

// mark notes that those who answered have what is newest.
func (p *pusher) mark(answers map[target]push.Answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t := range answers {
		if _, known := p.targets[t]; known {
			p.targets[t] = p.generation
		}
	}
}

// spread runs f for every target and gathers the answers of those that could be reached.
func (p *pusher) spread(ctx context.Context, to []target, f func(context.Context, target) (push.Answer, error)) map[target]push.Answer {
	var wg sync.WaitGroup
	var mu sync.Mutex
	answers := map[target]push.Answer{}
	for _, t := range to {
		wg.Go(func() {
			a, err := f(ctx, t)
			if err != nil {
				p.log.WarnContext(ctx, "proxy not reached with a configuration", slog.String(logkey.ProxyID, string(t.ID)), slog.Any(logkey.Err, err))
				return // the next look at the proxies tries again
			}
			mu.Lock()
			defer mu.Unlock()
			answers[t] = a
		})
	}
	wg.Wait()
	return answers
}

// send runs one flow with one configuration.
func (p *pusher) send(ctx context.Context, to target, id tunnel.ID, r push.Request) (push.Answer, error) {
	st := &answerStream{ctx: ctx}
	err := p.balancer.Carry(ctx, link.Flow{
		Meta: link.Meta{Kind: link.KindConfig, Tunnel: id}, Stream: st, First: r.Append(nil), EOF: true, Proxy: to.ID,
	})
	if err != nil {
		return push.Answer{}, err
	}
	a, err := push.ParseAnswer(st.b)
	if err != nil {
		return push.Answer{}, fmt.Errorf("proxy %s: %w", to.ID, err)
	}
	return a, nil
}

// answerStream is the edge's side of a flow that has no edge: it gives nothing more than the first bytes and keeps what
// is answered.
type answerStream struct {
	ctx context.Context //nolint:containedctx // link.EdgeStream asks for it
	b   []byte
}

func (*answerStream) Read([]byte) (int, error) { return 0, io.EOF }

func (s *answerStream) Write(b []byte) (int, error) {
	if len(s.b)+len(b) > push.MaxAnswer {
		return 0, io.ErrShortBuffer
	}
	s.b = append(s.b, b...)
	return len(b), nil
}

func (*answerStream) CloseWrite() error          { return nil }
func (*answerStream) CancelRead(uint64)          {}
func (*answerStream) CancelWrite(uint64)         {}
func (s *answerStream) Context() context.Context { return s.ctx }
