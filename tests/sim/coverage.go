package sim

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// phases are the columns of the table: the phases of a slot's newest holder, and no holder at all.
const (
	unheld  = 0
	columns = int(lease.PhaseEnded) + 2
)

// Coverage counts which faults hit which states of slots.
type Coverage struct {
	counts map[Kind]*[columns]int
}

// NewCoverage makes an empty table.
func NewCoverage() *Coverage { return &Coverage{counts: map[Kind]*[columns]int{}} }

// Add adds the counts of another table.
func (c *Coverage) Add(o *Coverage) {
	for kind, row := range o.counts {
		for i, n := range row {
			c.count(kind, i, n)
		}
	}
}

func (c *Coverage) count(k Kind, column, n int) {
	if c.counts[k] == nil {
		c.counts[k] = &[columns]int{}
	}
	c.counts[k][column] += n
}

// Faults counts the slots that a kind of fault hit.
func (c *Coverage) Faults(k Kind) int {
	n := 0
	if row := c.counts[k]; row != nil {
		for _, count := range row {
			n += count
		}
	}
	return n
}

// Empty lists the cells without a hit, as "fault x state".
func (c *Coverage) Empty() []string {
	var out []string
	for _, k := range Kinds() {
		for i := range columns {
			if row := c.counts[k]; row == nil || row[i] == 0 {
				out = append(out, string(k)+" x "+column(i))
			}
		}
	}
	return out
}

func column(i int) string {
	if i == unheld {
		return "unheld"
	}
	return lease.Phase(i - 1).String()
}

// String is the table.
func (c *Coverage) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', tabwriter.AlignRight)
	row := func(cells ...any) {
		for _, c := range cells {
			_, _ = fmt.Fprint(w, c, "\t") // a strings.Builder never fails, here and below
		}
		_, _ = fmt.Fprintln(w)
	}
	head := []any{"fault"}
	for i := range columns {
		head = append(head, column(i))
	}
	row(head...)
	for _, k := range Kinds() {
		cells := []any{k}
		for i := range columns {
			n := 0
			if counts := c.counts[k]; counts != nil {
				n = counts[i]
			}
			cells = append(cells, n)
		}
		row(cells...)
	}
	_ = w.Flush()
	return b.String()
}

// cover counts the states of the slots that a fault hits.
func (k *checker) cover(f *Fault) {
	addrs := k.c.addresses(f.Target)
	holders := k.holders()
	for _, t := range k.tunnels {
		for _, i := range t.indexes {
			column := unheld
			hit := true
			for _, h := range holders {
				if h.view.Slot.Tunnel != t.id || h.view.Slot.Index != i.index {
					continue
				}
				column = int(h.view.Phase) + 1
				hit = f.Target == "" || h.env.id == f.Target || h.env.host == f.Target || slices.Contains(addrs, h.view.Edge.Addr) ||
					f.Target == shortName(t.id) || h.env.role != RoleWorker || k.isControl(f.Target)
			}
			if hit {
				k.coverage.count(f.Kind, column, 1)
			}
		}
	}
}

// isControl reports whether a target is a process without slots of its own: then all slots are hit.
func (k *checker) isControl(target string) bool {
	return slices.ContainsFunc(k.c.of(target), func(e *Env) bool { return e.role != RoleWorker })
}

type held struct {
	env  *Env
	view HolderView
}

// holders lists all holders; of each index the one with the newest epoch comes last.
func (k *checker) holders() []held {
	var out []held
	for _, e := range k.c.alive(RoleWorker) {
		if h, ok := e.actor.(Holding); ok {
			for _, v := range h.Holders() {
				out = append(out, held{env: e, view: v})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b held) int { return compareEpochs(a.view.Epoch, b.view.Epoch) })
	return out
}

func compareEpochs(a, b tunnel.Epoch) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	default:
		return 0
	}
}
