package udp

import "sync/atomic"

// budget bounds the bytes of payloads that all flows keep.
type budget struct {
	limit int64
	used  atomic.Int64
}

// take takes n bytes, or reports false.
func (b *budget) take(n int) bool {
	if b.used.Add(int64(n)) > b.limit {
		b.give(n)
		return false
	}
	return true
}

func (b *budget) give(n int) { b.used.Add(-int64(n)) }

// keeping is a queue of payloads within a budget. Its owner guards it.
type keeping struct {
	of    *budget
	queue []kept
}

// kept is a payload, and when it came, in nanoseconds.
type kept struct {
	b  []byte
	at int64
}

// add keeps b, unless n payloads or all of the budget are kept already.
func (k *keeping) add(b []byte, at int64, n int) bool {
	if len(k.queue) >= n || !k.of.take(len(b)) {
		return false
	}
	k.queue = append(k.queue, kept{b, at})
	return true
}

// drop forgets the first n payloads.
func (k *keeping) drop(n int) {
	for i := range k.queue[:n] {
		k.of.give(len(k.queue[i].b))
		k.queue[i].b = nil
	}
	if k.queue = k.queue[n:]; len(k.queue) == 0 {
		k.queue = nil
	}
}

// dropBefore forgets what came before the moment at.
func (k *keeping) dropBefore(at int64) {
	n := 0
	for n < len(k.queue) && k.queue[n].at < at {
		n++
	}
	if n > 0 {
		k.drop(n)
	}
}

// takeFrom puts what o keeps before what k keeps; of more than n payloads the oldest are forgotten.
func (k *keeping) takeFrom(o *keeping, n int) {
	k.queue, o.queue = append(o.queue, k.queue...), nil
	k.drop(max(0, len(k.queue)-n))
}

func (k *keeping) clear() { k.drop(len(k.queue)) }
