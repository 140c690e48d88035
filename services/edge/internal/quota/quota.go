package quota

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/services/edge/internal/share"
)

// Counter is a share.Counter with a lock and metrics.
type Counter[K comparable] struct {
	metrics *metrics

	// mu protects counter.
	mu      sync.Mutex
	counter *share.Counter[K]
}

// NewCounter makes a counter of a resource; the name is the metrics' label, and each name is used once per registerer.
func NewCounter[K comparable](reg prometheus.Registerer, resource string, limits share.Limits) *Counter[K] {
	c := &Counter[K]{counter: share.NewCounter[K](limits)}
	c.metrics = newMetrics(reg, resource, limits, c.read(c.counter.Total), c.read(func() int64 { return int64(c.counter.Keys()) }))
	return c
}

// read makes a metric of a number that the lock protects.
func (c *Counter[K]) read(f func() int64) func() float64 {
	return func() float64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return float64(f())
	}
}

// Take takes the amount n for a key, all of it or nothing.
func (c *Counter[K]) Take(k K, n int64) share.Verdict {
	c.mu.Lock()
	v := c.counter.Take(k, n)
	c.mu.Unlock()
	c.metrics.count(v)
	return v
}

// Give returns the amount n of a key.
func (c *Counter[K]) Give(k K, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counter.Give(k, n)
}

// Total is the amount that all keys have taken.
func (c *Counter[K]) Total() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counter.Total()
}

// Table is a share.Table with a lock and metrics.
type Table[K comparable, V any] struct {
	metrics *metrics

	// mu protects table.
	mu    sync.Mutex
	table *share.Table[K, V]
}

// NewTable makes the table of a resource; the name is the metrics' label, and each name is used once per registerer.
func NewTable[K comparable, V any](reg prometheus.Registerer, resource string, limits share.Limits) *Table[K, V] {
	t := &Table[K, V]{table: share.NewTable[K, V](limits)}
	t.metrics = newMetrics(reg, resource, limits, t.read(t.table.Len), t.read(t.table.Keys))
	return t
}

// read makes a metric of a number that the lock protects.
func (t *Table[K, V]) read(f func() int) func() float64 {
	return func() float64 {
		t.mu.Lock()
		defer t.mu.Unlock()
		return float64(f())
	}
}

// Admit makes a pending entry for a key, if need be in the place of an older pending one, which is returned for the caller to
// close. The entry is nil unless the verdict is share.Granted.
func (t *Table[K, V]) Admit(k K, v V) (entry, evicted *share.Entry[K, V], verdict share.Verdict) {
	t.mu.Lock()
	entry, evicted, verdict = t.table.Admit(k, v)
	t.mu.Unlock()
	t.metrics.count(verdict)
	if evicted != nil {
		t.metrics.evicted.Inc()
	}
	return entry, evicted, verdict
}

// Pin keeps an entry from being evicted; false means that it has left the table.
func (t *Table[K, V]) Pin(e *share.Entry[K, V]) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.table.Pin(e)
}

// Unpin makes an entry pending again, as the youngest; false means that it has left the table.
func (t *Table[K, V]) Unpin(e *share.Entry[K, V]) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.table.Unpin(e)
}

// Leave removes an entry. Idempotent.
func (t *Table[K, V]) Leave(e *share.Entry[K, V]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.table.Leave(e)
}

// Len is the number of entries.
func (t *Table[K, V]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.table.Len()
}
