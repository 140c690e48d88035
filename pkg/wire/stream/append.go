package stream

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// metadataWords is the size of one Metadata struct: two pointers.
const metadataWords = 2

// writer fills a buffer of exactly the right size: a message of one segment.
type writer struct {
	buf  []byte
	next int // offset of the next free byte
}

// textWords is the size of a text's content. The empty text is a null pointer.
func textWords(s string) int {
	if s == "" {
		return 0
	}
	return (len(s) + 1 + wordSize - 1) / wordSize
}

// segmentWords is the size of the whole segment: root pointer, root struct, its text, and the list of pairs.
func segmentWords(rootWords int, text string, pairs []Pair) int {
	n := 1 + rootWords + textWords(text) + 1 + len(pairs)*metadataWords
	for i := range pairs {
		n += textWords(pairs[i].Key) + textWords(pairs[i].Val)
	}
	return n
}

// appendMessage appends prologue, framing and a root struct of the given size with a text and a list of pairs as its
// two pointers. It returns the offset of the root struct in the result.
func appendMessage(dst []byte, dataWords int, text string, pairs []Pair) (out []byte, root int, err error) {
	const rootPointers = 2
	rootWords := dataWords + rootPointers
	words := segmentWords(rootWords, text, pairs)
	size := PrologueSize + wordSize + words*wordSize
	if size-PrologueSize > MaxReferenceMessage {
		return dst, 0, fmt.Errorf("%w: %d bytes", ErrTooLarge, size-PrologueSize)
	}
	dst = slices.Grow(dst, size)
	start := len(dst)
	w := writer{buf: dst[start : start+size]}
	copy(w.buf, dataSignature+version)
	binary.LittleEndian.PutUint32(w.buf[PrologueSize:], 0)
	binary.LittleEndian.PutUint32(w.buf[PrologueSize+4:], uint32(words))
	w.next = PrologueSize + wordSize
	w.put(uint64(dataWords)<<32 | rootPointers<<48)
	root = w.next
	for range rootWords {
		w.put(0)
	}
	ptrs := root + dataWords*wordSize
	w.text(ptrs, text)
	w.pairs(ptrs+wordSize, pairs)
	return dst[:start+size], start + root, nil
}

// put writes one word.
func (w *writer) put(v uint64) {
	binary.LittleEndian.PutUint64(w.buf[w.next:], v)
	w.next += wordSize
}

// offset is the signed distance in words from the end of the pointer at ptr to the next free byte, in place for a
// pointer word.
func (w *writer) offset(ptr int) uint64 {
	return uint64(uint32((w.next-ptr-wordSize)/wordSize) << 2)
}

// text writes s and the pointer to it at offset ptr, which is zero before.
func (w *writer) text(ptr int, s string) {
	if s == "" {
		return
	}
	word := w.offset(ptr) | kindList | elementByte<<32 | uint64(len(s)+1)<<35
	binary.LittleEndian.PutUint64(w.buf[ptr:], word)
	end := w.next + textWords(s)*wordSize
	n := copy(w.buf[w.next:], s)
	clear(w.buf[w.next+n : end])
	w.next = end
}

// pairs writes the list of pairs and the pointer to it at offset ptr. An empty list is written as such, as the
// reference does.
func (w *writer) pairs(ptr int, pairs []Pair) {
	words := uint64(len(pairs) * metadataWords)
	binary.LittleEndian.PutUint64(w.buf[ptr:], w.offset(ptr)|kindList|elementComposite<<32|words<<35)
	w.put(uint64(len(pairs))<<2 | metadataWords<<48)
	element := w.next
	for range words {
		w.put(0)
	}
	for i := range pairs {
		w.text(element, pairs[i].Key)
		w.text(element+wordSize, pairs[i].Val)
		element += metadataWords * wordSize
	}
}
