package placement

import (
	"cmp"
	"slices"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Candidate is a worker that may hold slots of the connector in question.
type Candidate struct {
	ID       tunnel.WorkerID
	Host     string
	Capacity int
	// Load counts the slots of all connectors that the worker holds as far as this supervisor plans for them, Own those of this connector
	// only. Elsewhere are those of connectors that other supervisors plan for: it counts when a slot is placed, and is not evened out, or
	// several supervisors would do so at once.
	Load, Own, Elsewhere int
	// Weight is the worker's share of this connector's slots: one with weight 2 gets twice as many as one with 1. 0 stands for 1.
	Weight int
	// Closed workers get nothing new: they drain.
	Closed bool
	// Doubtful workers could not reach the edge a while ago: they get slots only if there is no other.
	Doubtful bool
}

func (c Candidate) weight() int { return max(c.Weight, 1) }

// All counts the slots that the worker holds, whoever plans for them.
func (c Candidate) All() int { return c.Load + c.Elsewhere }

// HasRoom reports whether the worker may get one more slot.
func (c Candidate) HasRoom() bool { return !c.Closed && c.All() < c.Capacity }

// Choose picks the worker for one more slot: the fewest slots of this connector for its weight, then the fewest of them on its host,
// then the least load for its capacity, then the smallest name, so that all supervisors choose alike. A worker that
// avoid names is taken only if no other has room, and a doubtful one only after that.
func Choose(candidates []Candidate, avoid ...tunnel.WorkerID) (tunnel.WorkerID, bool) {
	sure := slices.DeleteFunc(slices.Clone(candidates), func(c Candidate) bool { return c.Doubtful })
	for _, from := range [][]Candidate{sure, candidates} {
		for _, but := range [][]tunnel.WorkerID{avoid, nil} {
			if id, ok := choose(from, but); ok {
				return id, true
			}
		}
	}
	return "", false
}

// ChooseOther is Choose, but never gives a worker that avoid names, nor a doubtful one.
func ChooseOther(candidates []Candidate, avoid ...tunnel.WorkerID) (tunnel.WorkerID, bool) {
	return choose(slices.DeleteFunc(slices.Clone(candidates), func(c Candidate) bool { return c.Doubtful }), avoid)
}

func choose(candidates []Candidate, avoid []tunnel.WorkerID) (tunnel.WorkerID, bool) {
	onHost := perHost(candidates)
	best := -1
	for i, c := range candidates {
		if !c.HasRoom() || slices.Contains(avoid, c.ID) {
			continue
		}
		if best < 0 || before(c, candidates[best], onHost) {
			best = i
		}
	}
	if best < 0 {
		return "", false
	}
	return candidates[best].ID, true
}

func before(a, b Candidate, onHost map[string]int) bool {
	order := cmp.Or(
		cmp.Compare((a.Own+1)*b.weight(), (b.Own+1)*a.weight()),
		cmp.Compare(onHost[a.Host], onHost[b.Host]),
		cmp.Compare(a.All()*b.Capacity, b.All()*a.Capacity),
		cmp.Compare(a.ID, b.ID),
	)
	return order < 0
}

// Move is a slot to take from one worker and to give to another.
type Move struct{ From, To tunnel.WorkerID }

// Rebalance finds the one move that evens the connector out most, if any is worth it: workers, as their weights say, or hosts must differ
// by two slots of the connector, or, at no cost to that spread, workers by two slots in all. Every such move makes the
// spread strictly better, so a chain of moves ends.
func Rebalance(candidates []Candidate) (Move, bool) {
	onHost := perHost(candidates)
	var best Move
	var bestGain [3]int
	for _, from := range candidates {
		if from.Own == 0 || from.Closed {
			continue
		}
		for _, to := range candidates {
			if to.ID == from.ID || to.Doubtful || !to.HasRoom() {
				continue
			}
			g := gain(from, to, onHost)
			if better(g, bestGain) {
				best, bestGain = Move{From: from.ID, To: to.ID}, g
			}
		}
	}
	return best, best != Move{}
}

// gain returns by how much a move improves the spread over workers, over hosts, and of all load, in this order of
// importance; zero means that the two only trade places. It is all zero when the move makes something worse that
// nothing more important outweighs.
func gain(from, to Candidate, onHost map[string]int) [3]int {
	var g [3]int
	g[0] = from.Own*to.weight() - (to.Own+1)*from.weight()
	if g[0] < 0 {
		return [3]int{}
	}
	if from.Host != to.Host {
		g[1] = onHost[from.Host] - onHost[to.Host] - 1
	}
	if g[0] == 0 && g[1] < 0 {
		return [3]int{}
	}
	g[2] = from.Load - to.Load - 1
	if g[0] == 0 && g[1] == 0 && g[2] < 0 {
		return [3]int{}
	}
	return g
}

func better(a, b [3]int) bool {
	return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]), cmp.Compare(a[2], b[2])) > 0
}

func perHost(candidates []Candidate) map[string]int {
	m := make(map[string]int, len(candidates))
	for _, c := range candidates {
		m[c.Host] += c.Own
	}
	return m
}
