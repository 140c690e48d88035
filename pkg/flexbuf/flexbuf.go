// Package flexbuf has buffers for goroutines that copy streams. A buffer is small while little data arrives, so that many
// idle streams cost little memory, and large while much arrives, so that a busy stream needs few calls.
package flexbuf

import (
	"cmp"
	"sync"
)

// Sizes of a buffer in bytes while little data arrives, and while much does unless Pool.Large says otherwise.
const (
	smallSize    = 4 << 10
	defaultLarge = 32 << 10
)

// Pool makes buffers. The zero value is ready for use. It is safe for concurrent use and must not be copied.
type Pool struct {
	// Large is the size that a buffer grows to, more than 4 KiB; 0 means 32 KiB.
	Large int

	smalls, larges sync.Pool // of *[]byte
}

func take(from *sync.Pool, size int) *[]byte {
	if b, ok := from.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, size)
	return &b
}

// Buffer makes the buffer of one goroutine, which must be freed.
func (p *Pool) Buffer() Buffer { return Buffer{pool: p} }

// Buffer is the memory of one direction. It belongs to one goroutine.
type Buffer struct {
	pool *Pool
	mem  *[]byte
	last int // bytes of the last read
}

// Next gives the memory for the next read. It is valid until the next call of Next or Free, which may return it to the pool.
func (b *Buffer) Next() []byte {
	p := b.pool
	switch large := b.mem != nil && len(*b.mem) > smallSize; {
	case b.mem == nil:
		b.mem = take(&p.smalls, smallSize)
	case !large && b.last >= smallSize*3/4:
		p.smalls.Put(b.mem)
		b.mem = take(&p.larges, cmp.Or(p.Large, defaultLarge))
	case large && b.last < smallSize/2:
		p.larges.Put(b.mem)
		b.mem = take(&p.smalls, smallSize)
	}
	return *b.mem
}

// Took records how many bytes were read into Next. The number decides the size of the following one.
func (b *Buffer) Took(n int) { b.last = n }

// Free returns the memory to the pool. Idempotent.
func (b *Buffer) Free() {
	switch {
	case b.mem == nil:
		return
	case len(*b.mem) > smallSize:
		b.pool.larges.Put(b.mem)
	default:
		b.pool.smalls.Put(b.mem)
	}
	b.mem = nil
}
