package datagram

import (
	"encoding/binary"
	"fmt"
)

// Fragments carry the UDP payloads that are too large for one datagram, between two ends of Culvert (docs/extensions.md). The type
// has the same number in both versions.
const (
	V2Fragment V2Type = 0x10
	V3Fragment V3Type = 0x10
)

const (
	// MaxFragmented is the largest payload that fragments carry, the largest of UDP over IPv4.
	MaxFragmented = 65507
	// FragmentSize is the size of the data of all fragments of a payload but the last. A whole fragment fits into the first packets
	// of a QUIC connection, before its path is known to carry larger ones.
	FragmentSize = 1144
	// MaxFragments is the number of fragments of the largest payload.
	MaxFragments = (MaxFragmented + FragmentSize - 1) / FragmentSize

	fragmentFields = 2 + 1 + 1
	fragmentHeader = 1 + IDSize + fragmentFields
)

// Fragment is a part of a payload. The zero Fragment, whose Count is 0, carries nothing: an edge sends it to say that it takes
// fragments.
type Fragment struct {
	ID ID
	// Number is the same for all fragments of one payload, and another one for the payloads before and after it.
	Number uint16
	// Index is the place of the fragment among Count ones.
	Index, Count uint8
	// Data is, after a parse, a part of the input.
	Data []byte
}

// Fragments gives the fragments of a payload. Errors: ErrTooLarge.
func Fragments(id ID, number uint16, payload []byte) ([]Fragment, error) {
	if len(payload) > MaxFragmented {
		return nil, fmt.Errorf("udp payload of %d bytes: %w", len(payload), ErrTooLarge)
	}
	count := max(1, (len(payload)+FragmentSize-1)/FragmentSize)
	out := make([]Fragment, count)
	for i := range out {
		n := min(FragmentSize, len(payload))
		out[i] = Fragment{ID: id, Number: number, Index: uint8(i), Count: uint8(count), Data: payload[:n]}
		payload = payload[n:]
	}
	return out, nil
}

// Append adds the datagram to dst, in version 3 if v3 is set, else in version 2.
func (f *Fragment) Append(dst []byte, v3 bool) []byte {
	if v3 {
		dst = append(dst, byte(V3Fragment))
		dst = append(dst, f.ID[:]...)
		return append(f.appendFields(dst), f.Data...)
	}
	dst = f.appendFields(append(dst, f.Data...))
	return append(append(dst, f.ID[:]...), byte(V2Fragment))
}

func (f *Fragment) appendFields(dst []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, f.Number), f.Index, f.Count)
}

// ParseFragment reads a datagram whose type is V3Fragment, or V2Fragment without v3. Errors: ErrShort, ErrTooLarge, ErrUnknownType, and
// ErrFragment when its fields contradict each other.
func ParseFragment(b []byte, v3 bool) (Fragment, error) {
	if len(b) < fragmentHeader {
		return Fragment{}, fmt.Errorf("fragment of %d bytes: %w", len(b), ErrShort)
	}
	var f Fragment
	var fields []byte
	kind := b[0]
	if v3 {
		f.ID, fields, f.Data = ID(b[1:1+IDSize]), b[1+IDSize:fragmentHeader], b[fragmentHeader:]
	} else {
		end := len(b) - fragmentHeader
		kind = b[len(b)-1]
		f.Data, fields, f.ID = b[:end:end], b[end:end+fragmentFields], ID(b[end+fragmentFields:len(b)-1])
	}
	if kind != byte(V3Fragment) {
		return Fragment{}, fmt.Errorf("type %d, want a fragment: %w", kind, ErrUnknownType)
	}
	f.Number, f.Index, f.Count = binary.BigEndian.Uint16(fields), fields[2], fields[3]
	return f, f.check()
}

// check refuses what cannot be a part of a payload: all but the last have FragmentSize bytes.
func (f *Fragment) check() error {
	last := int(f.Index) == int(f.Count)-1
	switch {
	case f.Count == 0 && f.Index == 0 && len(f.Data) == 0:
		return nil
	case f.Count > MaxFragments, len(f.Data) > FragmentSize:
		return fmt.Errorf("fragment %d of %d with %d bytes: %w", f.Index, f.Count, len(f.Data), ErrTooLarge)
	case f.Index >= f.Count, !last && len(f.Data) < FragmentSize, last && f.Index > 0 && len(f.Data) == 0:
		return fmt.Errorf("fragment %d of %d with %d bytes: %w", f.Index, f.Count, len(f.Data), ErrFragment)
	case int(f.Index)*FragmentSize+len(f.Data) > MaxFragmented:
		return fmt.Errorf("payload of more than %d bytes: %w", MaxFragmented, ErrTooLarge)
	default:
		return nil
	}
}
