package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"strconv"
	"time"
)

// Trace is the record of a run: one line per step and per note. The hash covers every line; the text is kept only when asked for.
type Trace struct {
	hash  hash.Hash
	lines int
	buf   []byte
	text  *bytes.Buffer
}

// NewTrace makes an empty trace.
func NewTrace(keepText bool) *Trace {
	t := &Trace{hash: sha256.New()}
	if keepText {
		t.text = &bytes.Buffer{}
	}
	return t
}

// line adds "seconds subject text".
func (t *Trace) line(at time.Duration, subject, text string) {
	t.lines++
	b := strconv.AppendInt(t.buf[:0], int64(at/time.Microsecond), 10)
	for len(b) < 7 { // at least one digit before the point
		b = append([]byte{'0'}, b...)
	}
	b = append(b, 0)
	copy(b[len(b)-6:], b[len(b)-7:len(b)-1])
	b[len(b)-7] = '.'
	b = append(b, ' ')
	b = append(b, subject...)
	b = append(b, ' ')
	b = append(b, text...)
	b = append(b, '\n')
	t.buf = b
	_, _ = t.hash.Write(b) // a hash never fails
	if t.text != nil {
		t.text.Write(b)
	}
}

// Lines counts the lines.
func (t *Trace) Lines() int { return t.lines }

// Sum is the hash of all lines so far, as text.
func (t *Trace) Sum() string { return hex.EncodeToString(t.hash.Sum(nil)) }

// Text is all lines, or nothing if the text is not kept.
func (t *Trace) Text() string {
	if t.text == nil {
		return ""
	}
	return t.text.String()
}
