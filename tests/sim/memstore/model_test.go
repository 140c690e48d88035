package memstore_test

import (
	"errors"
	"fmt"

	"github.com/anishathalye/porcupine"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// The operations of a history.
type verb uint8

const (
	doGrant verb = iota
	doRenew
	doRelease
)

// input is one call of a client: a worker, or a supervisor that grants to it.
type input struct {
	verb   verb
	index  tunnel.ConnIndex
	worker string
	// epoch is the one that a grant expects, or that a renewal or a release names.
	epoch tunnel.Epoch
	// mark makes the report of a renewal unique.
	mark string
}

// output is what the client learned. Of a call whose reply was lost, or that was executed after its time-out, it learned nothing.
type output struct {
	lost bool
	err  error
	// epoch is the new one of a grant, or the stored one.
	epoch  tunnel.Epoch
	worker string
	status string
}

func describe(in input, out output) string {
	name := [...]string{"grant", "renew", "release"}[in.verb]
	if out.lost {
		return fmt.Sprintf("%s %d %s epoch %d %s -> lost", name, in.index, in.worker, in.epoch, in.mark)
	}
	return fmt.Sprintf("%s %d %s epoch %d %s -> %v epoch %d %s %s", name, in.index, in.worker, in.epoch, in.mark, out.err, out.epoch,
		out.worker, out.status)
}

// slotState is the sequential model of a slot. A grant whose reply was lost has an epoch that nobody knows yet: then exact is
// false, and the epoch is greater than the one here, until a reply shows it.
type slotState struct {
	epoch  tunnel.Epoch
	exact  bool
	worker string
	status string
}

// is reports whether the slot can have this epoch.
func (s slotState) is(epoch tunnel.Epoch) bool {
	if s.exact {
		return s.epoch == epoch
	}
	return epoch > s.epoch
}

func slotModel() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			parts := map[tunnel.ConnIndex][]porcupine.Operation{}
			for _, o := range history {
				parts[o.Input.(input).index] = append(parts[o.Input.(input).index], o)
			}
			var out [][]porcupine.Operation
			for _, p := range parts {
				out = append(out, p)
			}
			return out
		},
		Init: func() []any { return []any{slotState{exact: true}} },
		Step: func(state, in, out any) []any {
			var next []any
			for _, s := range step(state.(slotState), in.(input), out.(output)) {
				next = append(next, s)
			}
			return next
		},
		Equal:             func(a, b any) bool { return a == b },
		DescribeOperation: func(in, out any) string { return describe(in.(input), out.(output)) },
	}
	return m.ToModel()
}

// step gives the states that are possible after an operation; none if its result is not possible.
func step(s slotState, in input, out output) []slotState {
	if out.lost {
		return append(applied(s, in), s)
	}
	switch in.verb {
	case doGrant:
		return stepGrant(s, in, out)
	case doRenew:
		return stepRenew(s, in, out)
	default:
		return stepRelease(s, in, out)
	}
}

// applied gives the state after an operation had its effect without a reply; none if it cannot have one.
func applied(s slotState, in input) []slotState {
	if !s.is(in.epoch) {
		return nil
	}
	switch {
	case in.verb == doGrant:
		return []slotState{{epoch: in.epoch, worker: in.worker, status: granted}}
	case s.worker != in.worker:
		return nil
	case in.verb == doRenew:
		return []slotState{{epoch: in.epoch, exact: true, worker: in.worker, status: renewed(in.mark)}}
	default:
		return []slotState{{epoch: in.epoch, exact: true}}
	}
}

const granted = "granted "

func renewed(mark string) string { return "connected " + mark }

func stepGrant(s slotState, in input, out output) []slotState {
	switch {
	case out.err == nil && s.is(in.epoch) && out.epoch > in.epoch:
		return []slotState{{epoch: out.epoch, exact: true, worker: in.worker, status: granted}}
	case errors.Is(out.err, tunnel.ErrConflict) && out.epoch != in.epoch && s.is(out.epoch):
		s.epoch, s.exact = out.epoch, true
		return []slotState{s}
	default:
		return nil
	}
}

func stepRenew(s slotState, in input, out output) []slotState {
	if out.err != nil || !s.is(out.epoch) || out.worker != s.worker {
		return nil
	}
	s.epoch, s.exact = out.epoch, true
	if in.epoch == out.epoch && in.worker == out.worker {
		s.status = renewed(in.mark)
	}
	if out.status != s.status {
		return nil
	}
	return []slotState{s}
}

func stepRelease(s slotState, in input, out output) []slotState {
	holder := s.worker == "" || s.worker == in.worker
	never := s.exact && s.epoch == 0
	switch {
	case out.err == nil && s.is(in.epoch) && holder && !never:
		return []slotState{{epoch: in.epoch, exact: true}}
	case errors.Is(out.err, tunnel.ErrNotFound) && (never || s.epoch < in.epoch):
		return []slotState{s}
	case errors.Is(out.err, tunnel.ErrFenced) && (!s.exact || s.epoch > in.epoch || s.epoch == in.epoch && !holder):
		return []slotState{s}
	default:
		return nil
	}
}
