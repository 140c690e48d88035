package virtual

import (
	"fmt"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// operator changes what is desired through the store of the first process, as the API of a supervisor does.
type operator struct {
	*world
	commands int
}

func (o *operator) set(spec desired.Spec) {
	o.t.Helper()
	store := o.parts[0].store
	read, err := store.Desired(o.t.Context(), 0)
	if err != nil {
		o.t.Fatal(err)
	}
	now := read.Tunnels[o.cred.TunnelID]
	if _, err := store.SetDesired(o.t.Context(), o.cred.TunnelID, now.Version, spec, "ann", !now.SamePool(spec)); err != nil {
		o.t.Fatal(err)
	}
	o.mark()
}

func (o *operator) drain(id tunnel.WorkerID, drained bool) {
	o.t.Helper()
	store := o.parts[0].store
	read, err := store.Desired(o.t.Context(), 0)
	if err != nil {
		o.t.Fatal(err)
	}
	if _, err := store.SetDrained(o.t.Context(), id, read.Workers[id].Version, drained, "ann"); err != nil {
		o.t.Fatal(err)
	}
	o.mark()
}

func (o *operator) mark() {
	if err := o.parts[0].store.MarkDesired(o.t.Context()); err != nil {
		o.t.Fatal(err)
	}
}

// command sends a command for an index, and waits until it is done.
func (o *operator) command(kind desired.Kind, index tunnel.ConnIndex) {
	o.t.Helper()
	o.commands++
	store, ctx, id := o.parts[0].store, o.t.Context(), o.cred.TunnelID
	connector, err := store.Connector(ctx, id)
	if err != nil {
		o.t.Fatal(err)
	}
	table, err := store.Slots(ctx, id, connector)
	if err != nil || int(index) >= len(table.Records) {
		o.t.Fatalf("slots: %+v, %v", table, err)
	}
	c := desired.Command{
		ID: fmt.Sprint("c", o.commands), Kind: kind, Tunnel: id, Index: index, Epoch: table.Records[index].Epoch,
	}
	if _, err := store.Submit(ctx, c, desired.DefaultTTL); err != nil {
		o.t.Fatal(err)
	}
	o.mark()
	took := o.within(10*time.Second, string(kind), func() bool {
		got, err := store.Result(ctx, c.ID)
		if err == nil && got.Outcome == desired.Refused {
			o.t.Fatalf("%s: %s", kind, got.Detail)
		}
		return err == nil && got.Outcome == desired.Done
	})
	if took > 2*time.Second {
		o.t.Errorf("%s took %v", kind, took)
	}
}

// TestDrainAndMoveByAnOperator: a worker is drained and comes back, and a connection is moved. No request fails and no index has a gap.
func TestDrainAndMoveByAnOperator(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.connected("w1", "w2")
		o := operator{world: w}
		visitors, gaps := w.visitors(), w.unserved()
		o.drain("w1", true)
		took := w.within(time.Minute, "w2 has everything", func() bool { return w.held()["w2"] == slots && w.isSteady() })
		t.Logf("drained after %v", took)
		w.pass(time.Minute)
		o.drain("w1", false)
		w.within(time.Minute, "w1 has its share again", func() bool { return w.held()["w1"] == slots/2 && w.isSteady() })
		w.pass(time.Minute)
		before := len(w.edges.registrations())
		o.command(desired.Move, 1)
		w.pass(time.Minute)
		if n := len(w.edges.registrations()) - before; n < 1 || n > 3 { // the balance is mended after the move
			t.Errorf("%d registrations after a move", n)
		}
		o.set(desired.Spec{Weights: map[string]int{"host/host-w2": 0}})
		w.within(time.Minute, "w1 has everything", func() bool { return w.held()["w1"] == slots && w.isSteady() })
		if gap := worst(gaps()); gap != 0 {
			t.Errorf("an index was unserved for %v", gap)
		}
		if sent, failed := visitors(); failed != 0 || sent == 0 {
			t.Errorf("%d of %d requests failed", failed, sent)
		}
	})
}

// TestPauseAndResume: a paused tunnel has no connection, also after the store lost everything, and has all of them when it is resumed.
// With fewer connections the others stay as they are.
func TestPauseAndResume(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.connected("w1", "w2")
		o := operator{world: w}
		visitors := w.visitors()
		before := len(w.edges.registrations())
		o.set(desired.Spec{Connections: 2})
		w.within(time.Minute, "two are left", func() bool { return len(w.edges.live()) == 2 })
		w.pass(time.Minute)
		if n := len(w.edges.registrations()) - before; n != 0 {
			t.Errorf("%d registrations although two connections were to end", n)
		}
		if sent, failed := visitors(); failed != 0 || sent == 0 {
			t.Errorf("%d of %d requests failed", failed, sent)
		}
		o.set(desired.Spec{Paused: true})
		took := w.within(30*time.Second, "nothing is left", func() bool { return len(w.edges.live()) == 0 })
		t.Logf("paused after %v", took)
		w.server.FlushAll()
		w.pass(2 * time.Minute)
		if n := len(w.edges.live()); n != 0 {
			t.Errorf("%d connections of a paused tunnel after the store lost everything", n)
		}
		o.set(desired.Spec{})
		took = w.within(time.Minute, "every index is served", w.isSteady)
		t.Logf("resumed after %v", took)
	})
}

// TestReconnectByAnOperator: one connection is made again, once.
func TestReconnectByAnOperator(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.connected("w1", "w2")
		o := operator{world: w}
		for n := range 3 {
			before := len(w.edges.registrations())
			held := w.held()
			o.command(desired.Reconnect, tunnel.ConnIndex(n))
			w.pass(time.Minute)
			if got := len(w.edges.registrations()) - before; got != 1 || !w.isSteady() {
				t.Errorf("%d registrations after a reconnect, want 1; served: %v", got, w.edges.holders())
			}
			if now := w.held(); now["w1"] != held["w1"] {
				t.Errorf("held %v, and then %v", held, now)
			}
		}
	})
}
