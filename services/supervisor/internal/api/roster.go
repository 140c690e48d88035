package api

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
)

const (
	// roleEvents is the lead of the supervisor that tells which workers and proxies come and go.
	roleEvents = "events"
	leadTTL    = 30 * time.Second
	// listEvery is how often workers and proxies are listed without a hint.
	listEvery = 10 * time.Second
	// settle is how long one has to be absent before it has left: after an outage of the store all registrations have run out.
	settle = 12 * time.Second
)

// member is a worker or a proxy.
type member struct {
	draining bool
	// gone is since when it is absent; zero while it is there.
	gone time.Time
}

// roster tells from one listing to the next who came and went. The first listing is where it begins.
type roster struct {
	begun   bool
	members map[string]member
}

// kinds are the kinds of events of a roster.
type kinds struct{ joined, draining, left string }

// listed takes a listing: whether each that is there drains. It calls tell for each change.
func (r *roster) listed(now time.Time, there map[string]bool, of kinds, tell func(kind, id string)) {
	if r.members == nil {
		r.members = map[string]member{}
	}
	for _, id := range slices.Sorted(maps.Keys(there)) {
		before, known := r.members[id]
		if r.begun && !known {
			tell(of.joined, id)
		}
		if r.begun && there[id] && !before.draining {
			tell(of.draining, id)
		}
		r.members[id] = member{draining: there[id]}
	}
	for _, id := range slices.Sorted(maps.Keys(r.members)) {
		m := r.members[id]
		switch _, is := there[id]; {
		case is:
		case m.gone.IsZero():
			m.gone = now
			r.members[id] = m
		case now.Sub(m.gone) >= settle:
			delete(r.members, id)
			tell(of.left, id)
		}
	}
	r.begun = true
}

// observe tells who comes and goes, as long as it has the lead for that.
func (a *API) observe(ctx context.Context, hints <-chan struct{}) {
	tick := time.NewTicker(listEvery)
	defer tick.Stop()
	var workers, proxies roster
	for {
		lead, err := a.Records.TakeLead(ctx, roleEvents, a.ID, leadTTL)
		switch {
		case err != nil: // nothing was seen, so nobody is absent
		case !lead:
			workers, proxies = roster{}, roster{}
		default:
			a.list(ctx, &workers, &proxies)
		}
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), journalTimeout)
			defer cancel()
			_ = a.Records.ResignLead(ctx, roleEvents, a.ID) // it runs out by itself
			return
		case <-hints:
		case <-tick.C:
		}
	}
}

// list lists workers and proxies once.
func (a *API) list(ctx context.Context, workers, proxies *roster) {
	now := time.Now()
	if all, err := a.Store.Fleet(ctx, 0); err == nil { // with a record that cannot be read somebody may only seem to be absent
		there := map[string]bool{}
		for i := range all.Workers {
			there[string(all.Workers[i].ID)] = all.Workers[i].Draining
		}
		workers.listed(now, there, kinds{opsapi.EventWorkerJoined, opsapi.EventWorkerDrains, opsapi.EventWorkerLeft},
			func(kind, id string) { a.Emit(opsapi.Event{Kind: kind, Worker: id}) })
	}
	if a.Configurations == nil {
		return
	}
	if all, err := a.Configurations.Proxies(ctx); err == nil {
		there := map[string]bool{}
		for _, p := range all {
			there[string(p.ID)] = p.Draining
		}
		proxies.listed(now, there, kinds{opsapi.EventProxyJoined, opsapi.EventProxyDrains, opsapi.EventProxyLeft},
			func(kind, id string) { a.Emit(opsapi.Event{Kind: kind, Proxy: id}) })
	}
}

// Run writes events, feeds their streams, refreshes what is shown without a store, and watches who comes and goes, until ctx ends.
func (a *API) Run(ctx context.Context) {
	if a.Records == nil {
		<-ctx.Done()
		return
	}
	a.group.Go(func() { a.writeEvents(ctx) })
	a.group.Go(func() { a.refresh(ctx) })
	a.group.Go(func() { a.feed(ctx, a.Store.Watch(ctx, topicEvents)) })
	a.observe(ctx, a.Store.Watch(ctx, lease.TopicFleet))
	a.group.Wait()
}
