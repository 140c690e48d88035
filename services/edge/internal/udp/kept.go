package udp

import (
	"sync/atomic"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// budget bounds the payload bytes that flows keep for retransmission. It is not a quota.Counter because every payload that is
// sent takes from it: it has no lock.
type budget struct {
	limit int64
	used  atomic.Int64
	// parent bounds several budgets together; it may be nil.
	parent *budget
}

// take takes n bytes from the budget and its parents. If they are not available, it takes none and reports false.
func (b *budget) take(n int) bool {
	if b.used.Add(int64(n)) > b.limit || b.parent != nil && !b.parent.take(n) {
		b.used.Add(-int64(n))
		return false
	}
	return true
}

// give puts n bytes back into the budget and its parents.
func (b *budget) give(n int) {
	b.used.Add(-int64(n))
	if b.parent != nil {
		b.parent.give(n)
	}
}

// bytes is the number of bytes taken, for the metric.
func (b *budget) bytes() float64 { return float64(b.used.Load()) }

// tunnelBudget is the share of one tunnel. It is forgotten with the tunnel's last flow.
type tunnelBudget struct {
	budget
	flows int
}

// budgetLocked returns the share of a tunnel for one more flow.
func (fs *Flows) budgetLocked(id tunnel.ID) *budget {
	b := fs.budgets[id]
	if b == nil {
		b = &tunnelBudget{budget: budget{limit: fs.kept.limit, parent: &fs.kept}}
		if n := int64(fs.cfg.TunnelKept); n > 0 {
			b.limit = n
		}
		fs.budgets[id] = b
	}
	b.flows++
	return &b.budget
}

// releaseLocked returns what a flow of the tunnel has taken: its place and its part in the tunnel's budget.
func (fs *Flows) releaseLocked(id tunnel.ID) {
	fs.flowQuota.Give(id, 1)
	if b := fs.budgets[id]; b != nil {
		if b.flows--; b.flows == 0 {
			delete(fs.budgets, id)
		}
	}
}

// payloadQueue is a queue of payloads within a budget. The caller serializes its methods.
type payloadQueue struct {
	budget *budget
	queue  []kept
}

// kept is a payload and the time when it was added, in nanoseconds.
type kept struct {
	b  []byte
	at int64
}

// add appends b and reports true, unless the queue has n payloads or the budget is used up.
func (q *payloadQueue) add(b []byte, at int64, n int) bool {
	if len(q.queue) >= n || !q.budget.take(len(b)) {
		return false
	}
	q.queue = append(q.queue, kept{b, at})
	return true
}

// drop removes the first n payloads.
func (q *payloadQueue) drop(n int) {
	for i := range q.queue[:n] {
		q.budget.give(len(q.queue[i].b))
		q.queue[i].b = nil
	}
	if q.queue = q.queue[n:]; len(q.queue) == 0 {
		q.queue = nil
	}
}

// dropBefore removes the payloads that were added before the time at.
func (q *payloadQueue) dropBefore(at int64) {
	n := 0
	for n < len(q.queue) && q.queue[n].at < at {
		n++
	}
	if n > 0 {
		q.drop(n)
	}
}

// prepend moves the payloads of o, which has the same budget, in front of those of q; the oldest beyond n are removed.
func (q *payloadQueue) prepend(o *payloadQueue, n int) {
	q.queue, o.queue = append(o.queue, q.queue...), nil
	q.drop(max(0, len(q.queue)-n))
}

func (q *payloadQueue) clear() { q.drop(len(q.queue)) }
