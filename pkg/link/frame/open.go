package frame

import (
	"encoding/binary"
	"fmt"
)

// Entry types of OPEN. Values never change; 5 (trace context) and 6 (configuration version) are reserved.
const (
	entryKind      = 1
	entryTunnel    = 2
	entryConnector = 3
	entryIndex     = 4
	entryRepeat    = 7
)

const (
	entryHeader = 3
	idSize      = 16
	// repeatSize is the size of the entry that marks a repeat.
	repeatSize = entryHeader + 1
	// OpenSize is the size of the largest OPEN frame of this version, header included.
	OpenSize = HeaderSize + 4*entryHeader + 1 + idSize + idSize + 1 + repeatSize
)

// OpenInfo is the payload of OPEN: the metadata of a flow.
type OpenInfo struct {
	Kind      uint8
	Tunnel    [idSize]byte
	Connector [idSize]byte
	Index     uint8
	// Repeat says that another proxy had the same request and was lost before it responded. It is sent only to a proxy
	// that announced FeatureRepeat, since others skip the entry and would run the request.
	Repeat bool
}

// AppendOpen appends an OPEN frame.
func AppendOpen(dst []byte, stream uint32, o OpenInfo) []byte {
	h := Header{Type: Open, Length: OpenSize - HeaderSize - repeatSize, Stream: stream}
	if o.Repeat {
		h.Length += repeatSize
	}
	dst = h.Append(dst)
	dst = append(dst, entryKind, 0, 1, o.Kind)
	dst = append(dst, entryTunnel, 0, idSize)
	dst = append(dst, o.Tunnel[:]...)
	dst = append(dst, entryConnector, 0, idSize)
	dst = append(dst, o.Connector[:]...)
	dst = append(dst, entryIndex, 0, 1, o.Index)
	if o.Repeat {
		dst = append(dst, entryRepeat, 0, 1, 1)
	}
	return dst
}

// ParseOpen reads the payload of OPEN. Unknown entries are skipped; of two with the same type the last one holds.
func ParseOpen(b []byte) (OpenInfo, error) {
	var o OpenInfo
	for len(b) > 0 {
		if len(b) < entryHeader {
			return OpenInfo{}, fmt.Errorf("open entry header: %w", ErrMalformed)
		}
		kind, size := b[0], int(binary.BigEndian.Uint16(b[1:]))
		b = b[entryHeader:]
		if size > len(b) {
			return OpenInfo{}, fmt.Errorf("open entry %d: %w", kind, ErrMalformed)
		}
		if !o.set(kind, b[:size]) {
			return OpenInfo{}, fmt.Errorf("open entry %d of %d bytes: %w", kind, size, ErrMalformed)
		}
		b = b[size:]
	}
	return o, nil
}

// set stores one entry; it reports false when a known entry has the wrong size.
func (o *OpenInfo) set(kind byte, v []byte) bool {
	switch kind {
	case entryKind:
		return setByte(&o.Kind, v)
	case entryTunnel:
		return copy(o.Tunnel[:], v) == idSize && len(v) == idSize
	case entryConnector:
		return copy(o.Connector[:], v) == idSize && len(v) == idSize
	case entryIndex:
		return setByte(&o.Index, v)
	case entryRepeat:
		o.Repeat = len(v) == 1 && v[0] != 0
		return len(v) == 1
	default:
		return true
	}
}

func setByte(dst *uint8, v []byte) bool {
	if len(v) != 1 {
		return false
	}
	*dst = v[0]
	return true
}
