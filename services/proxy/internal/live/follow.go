package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/redact"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// lookEvery is the longest time between two looks: hints may be lost.
const lookEvery = 5 * time.Second

// Versions is where operators' configurations are; *redisstore.Store is one.
type Versions interface {
	RuleHeads(ctx context.Context, known uint64) (rules.Heads, error)
	Rules(ctx context.Context, id tunnel.ID, number uint64) (rules.History, error)
	ReportRules(ctx context.Context, id tunnel.ID, result rules.Result) error
	NoteRules(ctx context.Context, id tunnel.ID, v rules.Stored) (uint64, error)
	Watch(ctx context.Context, topics ...string) <-chan struct{}
}

// following is what a follower uses of a State.
type following interface {
	ApplyVersion(ctx context.Context, id tunnel.ID, at rules.Position, document []byte) (rules.Position, error)
	Positions() map[tunnel.ID]rules.Position
	Seen() map[tunnel.ID]Seen
	Changed() <-chan struct{}
}

// follower makes a proxy follow the configurations that operators put into the store, and notes there what became of them. The
// order of package rules decides what replaces what; the absence of the store changes nothing. It belongs to one goroutine.
type follower struct {
	proxy string
	store Versions
	state following
	key   *rules.Key
	log   *slog.Logger
	// known is the version of the heads that were dealt with, and done the newest version of each tunnel.
	known uint64
	done  map[tunnel.ID]uint64
	// results are what is to be said of tunnels whose newest version is not in force, and reported what was said last of each.
	results, reported map[tunnel.ID]rules.Result
	// noted are the documents that the store has.
	noted      map[noteKey]note
	down       bool
	generation uint64 // of the key
}

func newFollower(proxy string, store Versions, state following, key *rules.Key, log *slog.Logger) *follower {
	return &follower{
		proxy: proxy, store: store, state: state, key: key, log: log,
		done: map[tunnel.ID]uint64{}, results: map[tunnel.ID]rules.Result{}, reported: map[tunnel.ID]rules.Result{},
		noted: map[noteKey]note{},
	}
}

// Follow puts in force what operators put into the store, and says there under the name of the proxy what became of it, until ctx ends.
func (s *State) Follow(ctx context.Context, proxy string, store Versions, key *rules.Key) {
	newFollower(proxy, store, s, key, s.cfg.Logger).run(ctx)
}

// run follows until ctx ends.
func (f *follower) run(ctx context.Context) {
	wake := f.store.Watch(ctx, lease.TopicRules)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		err := f.look(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !f.down {
			f.log.WarnContext(ctx, "configurations in the store not read", slog.Any(logkey.Err, err))
		}
		f.down = err != nil
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-f.state.Changed():
		case <-tick.C:
		}
	}
}

// look takes what is new, then says what is in force.
func (f *follower) look(ctx context.Context) error {
	if g := f.key.Generation(); g != f.generation { // it may open what the former keys did not
		f.generation, f.known = g, 0
		clear(f.done)
	}
	heads, err := f.store.RuleHeads(ctx, f.known)
	if err != nil {
		return err
	}
	if heads.Version < f.known { // the store lost data, maybe what it knew of this proxy
		clear(f.reported)
		clear(f.noted)
	}
	for id, number := range heads.Tunnels {
		if f.done[id] == number {
			continue
		}
		if err := f.take(ctx, id); err != nil {
			return err
		}
		f.done[id] = number
	}
	f.known = heads.Version
	if err := f.note(ctx); err != nil {
		return err
	}
	return f.report(ctx)
}

// take puts the newest version of a tunnel in force, if it is newer than what is. The error is the store's.
func (f *follower) take(ctx context.Context, id tunnel.ID) error {
	history, err := f.store.Rules(ctx, id, 0)
	if err != nil {
		return err
	}
	v, found := history.Newest()
	if !found {
		return nil
	}
	document, err := f.key.Open(id, v.Position, v.Sealed)
	if err == nil {
		var now rules.Position
		if now, err = f.state.ApplyVersion(ctx, id, v.Position, document); err == nil {
			err = overtaken(v.Position, now)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		delete(f.results, id)
		return nil
	}
	if errors.Is(err, rules.ErrSealed) {
		f.log.ErrorContext(ctx, "configuration in the store not opened", slog.String(logkey.TunnelID, id.String()),
			slog.Uint64(logkey.Number, v.Number), slog.Any(logkey.Err, err))
	}
	f.results[id] = rules.Result{Tried: v.Number, Error: redact.URL(err.Error())}
	return nil
}

// overtaken says why a version is not in force though it was not rejected.
func overtaken(v, now rules.Position) error {
	switch {
	case now == v:
		return nil
	case now.Push > v.Push:
		return fmt.Errorf("push %d of the edge came after it was made: apply it again to put it on top", now.Push)
	}
	return fmt.Errorf("version %d is in force, which is newer", now.Number)
}

// report says what is in force where that changed.
func (f *follower) report(ctx context.Context) error {
	positions := f.state.Positions()
	for k := range f.noted {
		if _, known := positions[k.tunnel]; !known {
			positions[k.tunnel] = rules.Local()
		}
	}
	for id := range f.results {
		if _, known := positions[id]; !known {
			positions[id] = rules.Local()
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(positions), func(a, b tunnel.ID) int { return bytes.Compare(a[:], b[:]) }) {
		r := f.results[id]
		r.Proxy, r.InForce = f.proxy, positions[id]
		if r.InForce.Number == 0 {
			r.Hash = f.noted[noteKey{id, r.InForce.Push >= 0}].hash
		}
		if f.reported[id] == r {
			continue
		}
		if err := f.store.ReportRules(ctx, id, r); err != nil {
			return err
		}
		f.reported[id] = r
	}
	return nil
}
