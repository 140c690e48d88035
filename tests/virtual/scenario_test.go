package virtual

import (
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

func TestMain(m *testing.M) { testkit.VerifyMain(m) }

// TestStart: the four connections come one after the other, the first one at once, the others at least 0.9 s apart, and then nothing
// registers any more.
func TestStart(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.supervisor()
		w.worker("w1")
		first := w.within(10*time.Second, "an index is served", func() bool { return len(w.edges.live()) > 0 })
		all := w.within(10*time.Second, "every index is served", w.isSteady)
		t.Logf("first connection after %v, all after %v more", first, all)
		if first > time.Second {
			t.Errorf("first connection after %v, although no other process knows a connector id", first)
		}
		for i, at := range w.edges.registrations() {
			if i >= 2 && at.Sub(w.edges.registrations()[i-1]) < 900*time.Millisecond { // index 1 follows index 0 at once
				t.Errorf("registrations at %v", w.edges.registrations())
			}
		}
		w.pass(5 * time.Minute)
		if n := len(w.edges.registrations()); n != slots || !w.isSteady() {
			t.Errorf("%d registrations in 5 minutes, want %d; served: %v", n, slots, w.edges.holders())
		}
	})
}

// TestWorkerKilled: what a dead worker held is served by the other one, and what that one held is not touched.
func TestWorkerKilled(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		parts := w.connected("w1", "w2")
		before := len(w.edges.registrations())
		gaps := w.unserved()
		parts[1].kill()
		w.within(time.Minute, "every index is served again", w.isSteady)
		w.pass(2 * time.Minute)
		if gap := worst(gaps()); gap > 25*time.Second {
			t.Errorf("an index was unserved for %v", gap)
		}
		if n := len(w.edges.registrations()) - before; n != 2 {
			t.Errorf("%d registrations, want those of the two lost connections", n)
		}
	})
}

// TestStoreDown: without the store nothing moves, neither while it is down nor when it is back, and a connection that is lost
// meanwhile is made again by its worker alone.
func TestStoreDown(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.connected("w1", "w2")
		held, before := w.held(), len(w.edges.registrations())
		visitors := w.visitors()
		for _, p := range w.parts {
			p.line.setCut(true)
		}
		w.pass(2 * time.Minute)
		w.edges.live()[0].session.Lose()
		took := w.within(5*time.Second, "the lost connection is back", w.isSteady)
		w.pass(2 * time.Minute)
		for _, p := range w.parts {
			p.line.setCut(false)
		}
		w.pass(2 * time.Minute)
		if sent, failed := visitors(); failed > 1 || sent == 0 {
			t.Errorf("%d of %d requests failed", failed, sent)
		}
		if n := len(w.edges.registrations()) - before; n != 1 {
			t.Errorf("%d registrations, want that of the lost connection", n)
		}
		if now := w.held(); now["w1"] != held["w1"] || now["w2"] != held["w2"] {
			t.Errorf("held %v, and then %v", held, now)
		}
		t.Logf("the lost connection was back after %v", took)
	})
}

// TestStoreMute: a store that takes requests and does not respond is like one that is down.
func TestStoreMute(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.connected("w1", "w2")
		before := len(w.edges.registrations())
		gaps := w.unserved()
		for _, p := range w.parts {
			p.line.setMute(true)
		}
		w.pass(3 * time.Minute)
		for _, p := range w.parts {
			p.line.setMute(false)
		}
		w.pass(2 * time.Minute)
		if gap := worst(gaps()); gap != 0 {
			t.Errorf("an index was unserved for %v", gap)
		}
		if n := len(w.edges.registrations()) - before; n != 0 {
			t.Errorf("%d registrations, want none", n)
		}
	})
}

// TestStoreEmptied: the store forgets everything. The connections stay, and with them the connector's id, even if a new
// worker comes first.
func TestStoreEmptied(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.connected("w1", "w2")
		ids, before := w.connectors(), len(w.edges.registrations())
		gaps := w.unserved()
		w.server.FlushAll()
		w.worker("w3")
		w.pass(3 * time.Minute)
		if gap := worst(gaps()); gap != 0 {
			t.Errorf("an index was unserved for %v", gap)
		}
		if n := len(w.edges.registrations()) - before; n > slots {
			t.Errorf("%d registrations, want at most one of each index for the new worker", n)
		}
		now := w.connectors()
		for id := range now {
			if len(now) != 1 || !ids[id] {
				t.Errorf("connector ids %v, and then %v", ids, now)
			}
		}
	})
}

// TestDrain: a worker that is stopped leaves its indices to the others first, and no request fails.
func TestDrain(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		parts := w.connected("w1", "w2")
		visitors, gaps := w.visitors(), w.unserved()
		parts[1].stop()
		w.within(time.Minute, "every index is served", w.isSteady)
		if gap := worst(gaps()); gap != 0 {
			t.Errorf("an index was unserved for %v", gap)
		}
		if sent, failed := visitors(); failed != 0 || sent == 0 {
			t.Errorf("%d of %d requests failed", failed, sent)
		}
		if held := w.held(); held["w2"] != slots {
			t.Errorf("held: %v", held)
		}
	})
}

// TestRollingRestart replaces the supervisors and the workers one after the other.
func TestRollingRestart(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		parts := w.connected("w1", "w2")
		second := w.supervisor()
		w.pass(10 * time.Second)
		visitors, gaps := w.visitors(), w.unserved()
		parts[0].stop()
		w.pass(30 * time.Second)
		w.supervisor()
		w.pass(30 * time.Second)
		second.stop()
		parts[1].stop()
		w.worker("w1")
		w.pass(time.Minute)
		parts[2].stop()
		w.worker("w2")
		w.pass(2 * time.Minute)
		if gap := worst(gaps()); gap != 0 {
			t.Errorf("an index was unserved for %v", gap)
		}
		if sent, failed := visitors(); failed != 0 || sent == 0 {
			t.Errorf("%d of %d requests failed", failed, sent)
		}
		if held := w.held(); held["w1"] != 2 || held["w2"] != 2 {
			t.Errorf("held: %v", held)
		}
	})
}

// TestLeaderHangs: the supervisor that leads does not reach the store for a while. Another one leads, and nothing moves,
// not even when the first one is back.
func TestLeaderHangs(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		parts := w.connected("w1", "w2")
		w.supervisor()
		w.pass(10 * time.Second)
		before := len(w.edges.registrations())
		parts[0].line.setMute(true)
		w.pass(time.Minute)
		w.worker("w3") // somebody must be there to give it slots
		w.within(time.Minute, "the new worker gets its share", func() bool { return w.held()["w3"] > 0 && w.isSteady() })
		moved := len(w.edges.registrations()) - before
		parts[0].line.setMute(false)
		w.pass(2 * time.Minute)
		if n := len(w.edges.registrations()) - before; n != moved {
			t.Errorf("%d registrations after the return of the first supervisor", n-moved)
		}
	})
}

// TestSupervisorKilled: of three supervisors two are killed one after the other, and with the second one a worker. The last one plans for
// the tunnel within the lease of the others: the worker's indices are served again as soon as with the first one.
func TestSupervisorKilled(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		parts := w.connected("w1", "w2")
		others := []*part{w.supervisor(), w.supervisor()}
		w.pass(20 * time.Second)
		gaps, before := w.unserved(), len(w.edges.registrations())
		parts[0].kill()
		w.pass(6 * time.Second)
		if n := len(w.edges.registrations()) - before; n != 0 {
			t.Errorf("%d registrations because a supervisor was killed", n)
		}
		others[0].kill()
		parts[1].kill()
		w.within(30*time.Second, "every index is served again by the supervisor that is left", w.isSteady)
		if gap := worst(gaps()); gap > 25*time.Second {
			t.Errorf("an index was unserved for %v", gap)
		}
	})
}

// TestAddressGoesSilent: an address stops responding. Its index is served over another one, and the others stay.
func TestAddressGoesSilent(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.connected("w1", "w2")
		gaps := w.unserved()
		before := len(w.edges.registrations())
		silent := w.edges.live()[0].edge
		w.edges.setSilent(silent, true)
		w.pass(2 * time.Minute)
		if gap := worst(gaps()); gap > 8*time.Second {
			t.Errorf("an index was unserved for %v", gap)
		}
		if n := len(w.edges.registrations()) - before; n != 1 {
			t.Errorf("%d registrations, want one", n)
		}
	})
}

// TestWorkerCutOffFromTheEdge: a worker that does not reach any edge address loses its indices to the other one, and gets
// none while that lasts.
func TestWorkerCutOffFromTheEdge(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.connected("w1", "w2")
		gaps := w.unserved()
		w.edges.setUnreachable("w1", true)
		w.within(time.Minute, "the other worker serves all", func() bool { return w.held()["w2"] == slots })
		w.pass(3 * time.Minute)
		if gap := worst(gaps()); gap > 25*time.Second {
			t.Errorf("an index was unserved for %v", gap)
		}
		if !w.isSteady() || w.held()["w2"] != slots {
			t.Errorf("held: %v", w.held())
		}
		again := w.unserved()
		w.edges.setUnreachable("w1", false)
		w.pass(3 * time.Minute)
		if gap := worst(again()); gap != 0 {
			t.Errorf("an index was unserved for %v when the worker came back", gap)
		}
		t.Logf("held in the end: %v", w.held())
	})
}

// TestWorkerCutOffFromTheStore: a worker that does not reach the store keeps serving until another one has taken over.
func TestWorkerCutOffFromTheStore(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		parts := w.connected("w1", "w2")
		gaps, visitors := w.unserved(), w.visitors()
		parts[1].line.setCut(true)
		w.pass(3 * time.Minute)
		before := len(w.edges.registrations())
		parts[1].line.setCut(false)
		w.pass(2 * time.Minute)
		if gap := worst(gaps()); gap != 0 {
			t.Errorf("an index was unserved for %v", gap)
		}
		if sent, failed := visitors(); failed != 0 || sent == 0 {
			t.Errorf("%d of %d requests failed", failed, sent)
		}
		if n := len(w.edges.registrations()) - before; n > slots {
			t.Errorf("%d registrations when the worker came back", n)
		}
		if !w.isSteady() {
			t.Errorf("served: %v", w.edges.holders())
		}
	})
}
