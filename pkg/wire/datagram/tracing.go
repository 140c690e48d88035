package datagram

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// TracingSize is the size of a tracing identity on the wire.
const TracingSize = 25

// Tracing names a span of a trace. Its text form is "trace:span:parent:flags", all hexadecimal; the parent is always
// written as 0 and ignored when read.
type Tracing struct {
	Trace [16]byte
	Span  [8]byte
	Flags byte
}

// ErrTracing means that a text is not a tracing identity.
var ErrTracing = errors.New("not a tracing identity")

// Append adds the binary form to dst.
func (t Tracing) Append(dst []byte) []byte {
	dst = append(dst, t.Trace[:]...)
	dst = append(dst, t.Span[:]...)
	return append(dst, t.Flags)
}

// String is the text form: the trace with all its digits, the others without leading zeros.
func (t Tracing) String() string {
	return fmt.Sprintf("%x:%x:0:%x", t.Trace[:], binary.BigEndian.Uint64(t.Span[:]), t.Flags)
}

// ParseTracing reads the binary form from b, which must hold nothing else.
func ParseTracing(b []byte) (Tracing, error) {
	if len(b) != TracingSize {
		return Tracing{}, fmt.Errorf("tracing identity of %d bytes: %w", len(b), ErrShort)
	}
	return Tracing{Trace: [16]byte(b[:16]), Span: [8]byte(b[16:24]), Flags: b[24]}, nil
}

// ParseTracingText reads the text form. Numbers may have fewer digits than their fields hold, never more.
func ParseTracingText(s string) (Tracing, error) {
	parts := strings.Split(s, ":")
	if len(parts) != 4 {
		return Tracing{}, fmt.Errorf("%d parts, want 4: %w", len(parts), ErrTracing)
	}
	trace, span, flags := parts[0], parts[1], parts[3]
	if trace == "" || len(trace) > 32 {
		return Tracing{}, fmt.Errorf("trace id of %d digits: %w", len(trace), ErrTracing)
	}
	var t Tracing
	cut := max(0, len(trace)-16)
	if err := parseHex(t.Trace[:8], trace[:cut]); err != nil {
		return Tracing{}, fmt.Errorf("trace id: %w", err)
	}
	if err := parseHex(t.Trace[8:], trace[cut:]); err != nil {
		return Tracing{}, fmt.Errorf("trace id: %w", err)
	}
	if span == "" {
		return Tracing{}, fmt.Errorf("span id is missing: %w", ErrTracing)
	}
	if err := parseHex(t.Span[:], span); err != nil {
		return Tracing{}, fmt.Errorf("span id: %w", err)
	}
	f, err := strconv.ParseUint(flags, 16, 8)
	if err != nil {
		return Tracing{}, fmt.Errorf("flags %q: %w", flags, ErrTracing)
	}
	t.Flags = byte(f)
	return t, nil
}

// parseHex reads at most 16 digits into the 8 bytes of dst; no digits are 0.
func parseHex(dst []byte, s string) error {
	if s == "" {
		return nil
	}
	v, err := strconv.ParseUint(s, 16, 64)
	if err != nil || len(s) > 16 {
		return fmt.Errorf("%q: %w", s, ErrTracing)
	}
	binary.BigEndian.PutUint64(dst, v)
	return nil
}
