package mux

import "sync"

// blockSize is the size of the blocks that keep received bytes.
const blockSize = 16 << 10

type block struct {
	next *block
	r, w int
	b    [blockSize]byte
}

// blockPool lends blocks.
type blockPool struct{ p sync.Pool }

func (p *blockPool) get() *block {
	if b, ok := p.p.Get().(*block); ok {
		return b
	}
	return new(block)
}

func (p *blockPool) put(b *block) {
	b.next, b.r, b.w = nil, 0, 0
	p.p.Put(b)
}

// queue has the received bytes of a stream. Small pieces share a block, so that it takes at most twice the memory of its
// bytes plus one block. It is not safe for concurrent use.
type queue struct {
	head, tail *block
	size       int
}

// push appends a filled block.
func (q *queue) push(b *block, pool *blockPool) {
	q.size += b.w
	if t := q.tail; t != nil && blockSize-t.w >= b.w {
		t.w += copy(t.b[t.w:], b.b[:b.w])
		pool.put(b)
		return
	}
	if q.tail == nil {
		q.head = b
	} else {
		q.tail.next = b
	}
	q.tail = b
}

// pop moves bytes to p, as many as are there and fit.
func (q *queue) pop(p []byte, pool *blockPool) (n int) {
	for n < len(p) && q.head != nil {
		b := q.head
		m := copy(p[n:], b.b[b.r:b.w])
		b.r += m
		n += m
		if b.r == b.w {
			if q.head = b.next; q.head == nil {
				q.tail = nil
			}
			pool.put(b)
		}
	}
	q.size -= n
	return n
}

// drop throws all bytes away and gives their number.
func (q *queue) drop(pool *blockPool) int {
	n := q.size
	for b := q.head; b != nil; {
		next := b.next
		pool.put(b)
		b = next
	}
	*q = queue{}
	return n
}
