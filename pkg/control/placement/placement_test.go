package placement

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func worker(id tunnel.WorkerID, host string, own, load int) Candidate {
	return Candidate{ID: id, Host: host, Capacity: 10, Own: own, Load: load}
}

func TestChoose(t *testing.T) {
	closed := worker("a", "h1", 0, 0)
	closed.Closed = true
	full := worker("a", "h1", 0, 10)
	big := worker("b", "h1", 1, 8)
	big.Capacity = 100
	tests := []struct {
		name  string
		from  []Candidate
		avoid []tunnel.WorkerID
		want  tunnel.WorkerID
	}{
		{"nobody", nil, nil, ""},
		{"closed", []Candidate{closed}, nil, ""},
		{"full", []Candidate{full}, nil, ""},
		{"fewest of this connector", []Candidate{worker("a", "h1", 2, 2), worker("b", "h1", 1, 9)}, nil, "b"},
		{
			"other host first",
			[]Candidate{worker("a", "h1", 1, 1), worker("b", "h1", 0, 0), worker("c", "h2", 0, 5)},
			nil, "c",
		},
		{"least load for its capacity", []Candidate{worker("a", "h1", 1, 4), big}, nil, "b"},
		{"name breaks ties", []Candidate{worker("b", "h1", 0, 0), worker("a", "h1", 0, 0)}, nil, "a"},
		{"avoided", []Candidate{worker("a", "h1", 0, 0), worker("b", "h1", 3, 3)}, []tunnel.WorkerID{"a"}, "b"},
		{"avoided but alone", []Candidate{worker("a", "h1", 0, 0), full}, []tunnel.WorkerID{"a"}, "a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := Choose(tt.from, tt.avoid...)
			if got != tt.want || ok != (tt.want != "") {
				t.Errorf("got %q %v, want %q", got, ok, tt.want)
			}
		})
	}
	if id, ok := ChooseOther([]Candidate{worker("a", "h1", 0, 0)}, "a"); ok {
		t.Errorf("ChooseOther gave %q", id)
	}
}

func TestRebalance(t *testing.T) {
	leaving := worker("a", "h1", 4, 4)
	leaving.Closed = true
	tests := []struct {
		name string
		from []Candidate
		want Move
	}{
		{"alone", []Candidate{worker("a", "h1", 4, 4)}, Move{}},
		{"newcomer", []Candidate{worker("a", "h1", 4, 4), worker("b", "h1", 0, 0)}, Move{"a", "b"}},
		{"difference of one", []Candidate{worker("a", "h1", 2, 2), worker("b", "h1", 1, 1)}, Move{}},
		{"two, two, none", []Candidate{worker("a", "h1", 2, 2), worker("b", "h1", 2, 3), worker("c", "h1", 0, 0)}, Move{"b", "c"}},
		{
			"hosts",
			[]Candidate{worker("a", "h1", 1, 1), worker("b", "h1", 1, 1), worker("c", "h2", 0, 0)},
			Move{"a", "c"},
		},
		{"other connectors' load", []Candidate{worker("a", "h1", 1, 9), worker("b", "h1", 0, 2)}, Move{"a", "b"}},
		{"load is even", []Candidate{worker("a", "h1", 1, 3), worker("b", "h1", 0, 2)}, Move{}},
		{"load the other way", []Candidate{worker("a", "h1", 1, 1), worker("b", "h1", 0, 5)}, Move{}},
		{"draining workers are relieved by their drain", []Candidate{leaving, worker("b", "h1", 0, 0)}, Move{}},
		{
			"hosts the other way",
			[]Candidate{worker("a", "h1", 1, 9), worker("b", "h2", 0, 0), worker("c", "h2", 1, 1)},
			Move{},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := Rebalance(tt.from)
			if got != tt.want || ok != (tt.want != Move{}) {
				t.Errorf("got %v %v, want %v", got, ok, tt.want)
			}
		})
	}
}

// TestRebalanceEnds moves from any start until nothing moves, and counts.
func TestRebalanceEnds(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		var all []Candidate
		for i := range 2 + r.IntN(5) {
			own := r.IntN(5)
			id, host := tunnel.WorkerID(fmt.Sprint("w", i)), fmt.Sprint("h", r.IntN(3))
			all = append(all, Candidate{ID: id, Host: host, Capacity: 50, Own: own, Load: own + r.IntN(9)})
		}
		for moves := 0; ; moves++ {
			if moves > 60 {
				t.Fatalf("seed %d: does not end: %+v", seed, all)
			}
			m, ok := Rebalance(all)
			if !ok {
				break
			}
			for i := range all {
				switch all[i].ID {
				case m.From:
					all[i].Own, all[i].Load = all[i].Own-1, all[i].Load-1
				case m.To:
					all[i].Own, all[i].Load = all[i].Own+1, all[i].Load+1
				}
			}
		}
		for _, a := range all {
			for _, b := range all {
				if a.Own-b.Own >= 2 {
					t.Errorf("seed %d: %+v and %+v stay apart", seed, a, b)
				}
			}
		}
	}
}
