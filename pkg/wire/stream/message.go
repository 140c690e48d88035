package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Limits of a message. The reference accepts MaxReferenceMessage bytes. MaxMessage is the default here; it is far above any
// request header that an HTTP server accepts.
const (
	MaxSegments         = 512 + 1
	MaxReferenceMessage = 64 << 20
	MaxMessage          = 4 << 20
)

const wordSize = 8

// Pointer kinds, the low two bits of a pointer word.
const (
	kindStruct = 0
	kindList   = 1
	kindFar    = 2
)

// Element size codes of list pointers.
const (
	elementByte      = 2
	elementPointer   = 6
	elementComposite = 7
)

var (
	errSegments  = fmt.Errorf("%w: too many segments", ErrMalformed)
	errNoRoot    = fmt.Errorf("%w: no root pointer", ErrMalformed)
	errBounds    = fmt.Errorf("%w: pointer outside its segment", ErrMalformed)
	errSegmentID = fmt.Errorf("%w: pointer to an unknown segment", ErrMalformed)
	errFar       = fmt.Errorf("%w: bad far pointer", ErrMalformed)
	errKind      = fmt.Errorf("%w: pointer of an unexpected kind", ErrMalformed)
	errText      = fmt.Errorf("%w: text without terminator", ErrMalformed)
	errList      = fmt.Errorf("%w: bad list of structs", ErrMalformed)
	errTraversal = fmt.Errorf("%w: more data referred to than sent", ErrMalformed)
)

// message reads one framed message. It holds one copy of all segments as a string, so that every text is a view into
// it. Pointers are followed to a fixed depth (root, list, text), so no depth needs to be counted; the words that they
// lead to are charged against budget, which starts at the message's size: a correct encoder refers to each word
// at most once, and a message that does otherwise could make its reader handle far more data than was sent.
type message struct {
	data   string
	ends   []int // end of each segment in data; nil when there is only one
	budget int   // words
}

// span is a segment's range in message.data.
type span struct{ lo, hi int }

// target is where a pointer leads: the content starts at at, inside seg; word is the pointer itself and tells kind and
// size. A zero word is a null pointer, or (behind a double far pointer) an empty struct, which reads the same.
type target struct {
	word uint64
	at   int
	seg  span
}

// structure is a struct's two sections.
type structure struct {
	seg      span
	at       int // data section
	ptrs     int // pointer section
	data     int // words
	pointers int
}

// open checks prologue and framing of b and gives the message and the number of bytes it takes with its prologue. With
// ErrShort, n is a lower bound of the bytes needed.
func open(b []byte, limit int) (m message, n int, err error) {
	kind, err := Detect(b)
	if err == nil && kind != KindData {
		err = fmt.Errorf("%w: %s stream", ErrUnknownSignature, kind)
	}
	if err != nil && !errors.Is(err, ErrShort) {
		return message{}, 0, err
	}
	if len(b) < PrologueSize+wordSize {
		return message{}, PrologueSize + wordSize, ErrShort
	}
	frame := b[PrologueSize:]
	last := binary.LittleEndian.Uint32(frame)
	if last >= MaxSegments {
		return message{}, 0, errSegments
	}
	segments := int(last) + 1
	head := (4 + 4*segments + wordSize - 1) &^ (wordSize - 1)
	if len(frame) < head {
		return message{}, PrologueSize + head, ErrShort
	}
	var words uint64
	for i := range segments {
		words += uint64(binary.LittleEndian.Uint32(frame[4+4*i:]))
	}
	if limit < head || words > uint64(limit-head)/wordSize {
		return message{}, 0, ErrTooLarge
	}
	size := head + int(words)*wordSize
	if len(frame) < size {
		return message{}, PrologueSize + size, ErrShort
	}
	m = message{data: string(frame[head:size]), budget: int(words)}
	if segments > 1 {
		m.ends = make([]int, segments)
		end := 0
		for i := range m.ends {
			end += int(binary.LittleEndian.Uint32(frame[4+4*i:])) * wordSize
			m.ends[i] = end
		}
	}
	return m, PrologueSize + size, nil
}

// segment gives the range of one segment.
func (m *message) segment(id uint32) (span, error) {
	if m.ends == nil {
		if id != 0 {
			return span{}, errSegmentID
		}
		return span{0, len(m.data)}, nil
	}
	if uint64(id) >= uint64(len(m.ends)) {
		return span{}, errSegmentID
	}
	lo := 0
	if id > 0 {
		lo = m.ends[id-1]
	}
	return span{lo, m.ends[id]}, nil
}

// word reads the word at offset at, which the caller has checked.
func (m *message) word(at int) uint64 {
	s := m.data[at : at+wordSize]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// root gives the root struct; a null root is a struct of defaults.
func (m *message) root() (structure, error) {
	seg, err := m.segment(0)
	if err != nil {
		return structure{}, err
	}
	if seg.hi-seg.lo < wordSize {
		return structure{}, errNoRoot
	}
	t, err := m.follow(seg.lo, seg)
	if err != nil || t.word == 0 {
		return structure{}, err
	}
	if t.word&3 != kindStruct {
		return structure{}, errKind
	}
	s := structureAt(t.at, t.seg, t.word)
	if size := s.data + s.pointers; size*wordSize > t.seg.hi-t.at {
		return structure{}, errBounds
	} else if err := m.charge(size); err != nil {
		return structure{}, err
	}
	return s, nil
}

// structureAt lays out a struct whose size is in word, a struct pointer or the tag of a list.
func structureAt(at int, seg span, word uint64) structure {
	data, pointers := int(word>>32&0xffff), int(word>>48)
	return structure{seg: seg, at: at, ptrs: at + data*wordSize, data: data, pointers: pointers}
}

// charge takes words that are about to be visited from the budget.
func (m *message) charge(words int) error {
	m.budget -= words
	if m.budget < 0 {
		return errTraversal
	}
	return nil
}

// follow reads the pointer at offset at of segment seg. The start of what it leads to is inside the segment; whether
// the end is, depends on the kind and is the caller's check.
func (m *message) follow(at int, seg span) (target, error) {
	word := m.word(at)
	if word == 0 {
		return target{}, nil
	}
	if word&3 == kindFar {
		return m.followFar(word)
	}
	return near(word, at+wordSize, seg)
}

// near resolves a struct or list pointer whose offset counts from base.
func near(word uint64, base int, seg span) (target, error) {
	if word&3 > kindList {
		return target{}, errKind
	}
	at := int64(base) + int64(int32(uint32(word))>>2)*wordSize
	if at < int64(seg.lo) || at > int64(seg.hi) {
		return target{}, errBounds
	}
	return target{word: word, at: int(at), seg: seg}, nil
}

// followFar resolves a far pointer. Its landing pad is either one ordinary pointer, in the segment of the content, or
// two words: a far pointer to the content and a tag with kind and size.
func (m *message) followFar(word uint64) (target, error) {
	pad, seg, err := m.farAddress(word)
	if err != nil {
		return target{}, err
	}
	double := word&4 != 0
	if !double {
		if seg.hi-pad < wordSize {
			return target{}, errBounds
		}
		landing := m.word(pad)
		if landing == 0 {
			return target{}, nil
		}
		return near(landing, pad+wordSize, seg)
	}
	if seg.hi-pad < 2*wordSize {
		return target{}, errBounds
	}
	landing, tag := m.word(pad), m.word(pad+wordSize)
	if landing&7 != kindFar || tag&3 > kindList || uint32(tag)>>2 != 0 {
		return target{}, errFar
	}
	at, seg, err := m.farAddress(landing)
	if err != nil {
		return target{}, err
	}
	return target{word: tag, at: at, seg: seg}, nil
}

// farAddress gives the place in the message that a far pointer names.
func (m *message) farAddress(word uint64) (at int, seg span, err error) {
	seg, err = m.segment(uint32(word >> 32))
	if err != nil {
		return 0, span{}, err
	}
	offset := int64(uint32(word)>>3) * wordSize
	if offset > int64(seg.hi-seg.lo) {
		return 0, span{}, errBounds
	}
	return seg.lo + int(offset), seg, nil
}

// text reads pointer i of s as Text; a missing or null pointer is the empty text.
func (m *message) text(s structure, i int) (string, error) {
	if i >= s.pointers {
		return "", nil
	}
	t, err := m.follow(s.ptrs+i*wordSize, s.seg)
	if err != nil || t.word == 0 {
		return "", err
	}
	if t.word&3 != kindList || t.word>>32&7 != elementByte {
		return "", errKind
	}
	n := int(t.word >> 35)
	if n > t.seg.hi-t.at {
		return "", errBounds
	}
	if n == 0 || m.data[t.at+n-1] != 0 {
		return "", errText
	}
	if err := m.charge((n + wordSize - 1) / wordSize); err != nil {
		return "", err
	}
	return m.data[t.at : t.at+n-1], nil
}

// pairs reads pointer i of s as List(Metadata) into the array of dst.
func (m *message) pairs(s structure, i int, dst []Pair) ([]Pair, error) {
	old := dst
	dst = dst[:0]
	if i < s.pointers {
		count, element, err := m.list(s.ptrs+i*wordSize, s.seg)
		if err != nil {
			return dst, err
		}
		if cap(dst) < count {
			dst = make([]Pair, 0, count)
		}
		step := (element.data + element.pointers) * wordSize
		for range count {
			var p Pair
			if p.Key, err = m.text(element, 0); err != nil {
				return dst, err
			}
			if p.Val, err = m.text(element, 1); err != nil {
				return dst, err
			}
			dst = append(dst, p)
			element.at += step
			element.ptrs += step
		}
	}
	if len(dst) < len(old) {
		clear(old[len(dst):]) // releases the texts of an earlier message
	}
	return dst, nil
}

// list reads the list of structs that the pointer at offset at leads to: the number of elements and the first one.
// Every element is charged, an empty one as one word. A list of pointers is a list of structs with one pointer each,
// which is the one older form that this protocol's structs could have had.
func (m *message) list(at int, seg span) (count int, first structure, err error) {
	t, err := m.follow(at, seg)
	if err != nil || t.word == 0 {
		return 0, structure{}, err
	}
	if t.word&3 != kindList {
		return 0, structure{}, errKind
	}
	count = int(t.word >> 35)
	switch t.word >> 32 & 7 {
	case elementPointer:
		if count > (t.seg.hi-t.at)/wordSize {
			return 0, structure{}, errBounds
		}
		first = structure{seg: t.seg, at: t.at, ptrs: t.at, pointers: 1}
	case elementComposite:
		words := count
		if words+1 > (t.seg.hi-t.at)/wordSize {
			return 0, structure{}, errBounds
		}
		tag := m.word(t.at)
		count = int(uint32(tag) >> 2)
		first = structureAt(t.at+wordSize, t.seg, tag)
		if tag&3 != kindStruct || int64(count)*int64(first.data+first.pointers) > int64(words) {
			return 0, structure{}, errList
		}
	default:
		if count != 0 {
			return 0, structure{}, errList
		}
		return 0, structure{}, nil
	}
	if count > m.budget {
		return 0, structure{}, errTraversal
	}
	return count, first, m.charge(count * max(1, first.data+first.pointers))
}
