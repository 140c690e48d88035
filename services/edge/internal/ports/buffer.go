package ports

const (
	// idleSize is what one direction of a connection holds while nothing comes.
	idleSize = 4 << 10
	// bulk is what it takes from the pool while much comes.
	bulk = 64 << 10
)

// buffer is the memory of one direction: small while little comes, so that many idle connections cost little.
type buffer struct {
	shared *shared
	small  [idleSize]byte
	large  *[bulk]byte
}

// next is where to read to.
func (b *buffer) next() []byte {
	if b.large != nil {
		return b.large[:]
	}
	return b.small[:]
}

// took says how much the last read gave and could have given, once that is passed on.
func (b *buffer) took(n, most int) {
	switch {
	case b.large == nil && n == most:
		b.large = b.shared.buffers.Get().(*[bulk]byte) //nolint:forcetypeassert // the pool holds nothing else
	case b.large != nil && n < idleSize:
		b.free()
	}
}

func (b *buffer) free() {
	if b.large != nil {
		b.shared.buffers.Put(b.large)
		b.large = nil
	}
}
