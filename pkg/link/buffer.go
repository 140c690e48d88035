package link

import (
	"sync"

	"github.com/culvert-tunnel/culvert/pkg/link/frame"
)

// Buffer sizes. A flow starts with a small buffer and gets a large one when it turns out to be bulk. A large one holds
// exactly one full frame of ours.
const (
	smallBuffer = 16 << 10
	largeBuffer = 64 << 10
	// maxData is the largest DATA payload that we send.
	maxData = largeBuffer - frame.HeaderSize
)

// buffer holds unread bytes in b[r:w] when it is read into, or a frame in the making in b[:w].
type buffer struct {
	b    []byte
	r, w int
}

// buffers lends buffers to running flows; idle connections have none.
type buffers struct {
	small sync.Pool
	large sync.Pool
}

func (p *buffers) get(size int) *buffer {
	if size <= smallBuffer {
		if b, ok := p.small.Get().(*buffer); ok {
			return b
		}
		return &buffer{b: make([]byte, smallBuffer)}
	}
	if b, ok := p.large.Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, largeBuffer)}
}

func (p *buffers) put(b *buffer) {
	if b == nil {
		return
	}
	b.r, b.w = 0, 0
	if len(b.b) == smallBuffer {
		p.small.Put(b)
	} else {
		p.large.Put(b)
	}
}

// grow gives a large buffer with the contents of b, which it takes back.
func (p *buffers) grow(b *buffer) *buffer {
	if len(b.b) == largeBuffer {
		return b
	}
	l := p.get(largeBuffer)
	l.w = copy(l.b, b.b[b.r:b.w])
	p.put(b)
	return l
}
