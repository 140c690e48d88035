package datagram

import (
	"slices"
	"time"
)

// Bounds of one Reassembler.
const (
	// maxPartial is the number of payloads that may be incomplete at a time, sessionPartial those of one session.
	maxPartial, sessionPartial = 64, 8
	// partialBytes bounds the fragments that are held.
	partialBytes = 1 << 20
	// partialTime is how long the fragments of one payload may take.
	partialTime = 2 * time.Second
)

// Reassembler puts the payloads of one connection together. Beyond its bounds the oldest incomplete payload is given up: fragments get
// lost as any datagram does, and are not sent again. The zero value is ready for use; the caller serializes its methods.
type Reassembler struct {
	partial []*partial // oldest first
	bytes   int
}

// partial is a payload of which some fragments are missing.
type partial struct {
	id      ID
	number  uint16
	began   time.Time
	parts   [][]byte
	missing int
	bytes   int
}

// Add takes a fragment, whose Data it copies if it must. It gives the payload when it is complete, which may be f.Data, and else nil; an
// empty payload is complete and not nil. lost is the number of payloads that were given up.
func (r *Reassembler) Add(f Fragment, now time.Time) (payload []byte, lost int) {
	switch f.Count {
	case 0:
		return nil, 0
	case 1:
		return f.Data[:len(f.Data):len(f.Data)], 0
	}
	lost = r.giveUpOld(now)
	i := slices.IndexFunc(r.partial, func(p *partial) bool { return p.id == f.ID && p.number == f.Number })
	if i >= 0 && len(r.partial[i].parts) != int(f.Count) { // a number that came round again
		r.remove(i)
		lost++
		i = -1
	}
	if i < 0 {
		lost += r.makeRoom(f.ID)
		r.partial = append(r.partial, &partial{id: f.ID, number: f.Number, began: now, parts: make([][]byte, f.Count), missing: int(f.Count)})
		i = len(r.partial) - 1
	}
	p := r.partial[i]
	if p.parts[f.Index] != nil {
		return nil, lost // sent twice
	}
	p.parts[f.Index] = slices.Clone(f.Data)
	p.missing--
	p.bytes += len(f.Data)
	r.bytes += len(f.Data)
	if p.missing == 0 {
		r.remove(i)
		return slices.Concat(p.parts...), lost
	}
	for r.bytes > partialBytes {
		r.remove(0)
		lost++
	}
	return nil, lost
}

// giveUpOld removes the payloads whose fragments took too long.
func (r *Reassembler) giveUpOld(now time.Time) (lost int) {
	for len(r.partial) > 0 && now.Sub(r.partial[0].began) > partialTime {
		r.remove(0)
		lost++
	}
	return lost
}

// makeRoom removes what stands in the way of one more payload of a session: its own oldest one if it has too many.
func (r *Reassembler) makeRoom(id ID) (lost int) {
	own, oldest := 0, -1
	for i, p := range r.partial {
		if p.id == id {
			if own++; oldest < 0 {
				oldest = i
			}
		}
	}
	switch {
	case own >= sessionPartial:
		r.remove(oldest)
	case len(r.partial) >= maxPartial:
		r.remove(0)
	default:
		return 0
	}
	return 1
}

func (r *Reassembler) remove(i int) {
	r.bytes -= r.partial[i].bytes
	r.partial = slices.Delete(r.partial, i, i+1)
}
