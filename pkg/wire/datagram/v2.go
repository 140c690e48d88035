package datagram

import "fmt"

// V2Type is the last byte of a datagram of version 2.
type V2Type uint8

// The types of version 2.
const (
	V2UDP      V2Type = 0
	V2IP       V2Type = 1
	V2TracedIP V2Type = 2
	// V2Spans is never sent to a connector: a stock one ends the whole connection over it.
	V2Spans V2Type = 3
)

// V2MaxDatagram is the largest datagram of version 2 that carries an IP packet or spans, with its suffix.
const V2MaxDatagram = 1350

// V2 is a datagram of version 2.
type V2 struct {
	Type V2Type
	ID   ID // of V2UDP
	// Data is the payload of V2UDP, the packet of V2IP and V2TracedIP, the protobuf of V2Spans.
	Data []byte
	// Tracing is only in V2TracedIP and V2Spans.
	Tracing Tracing
}

// Append adds the datagram to dst.
func (d *V2) Append(dst []byte) ([]byte, error) {
	switch d.Type {
	case V2UDP:
		if len(d.Data) > MaxPayload {
			return dst, fmt.Errorf("udp payload of %d bytes: %w", len(d.Data), ErrTooLarge)
		}
		return AppendV2UDP(dst, d.ID, d.Data), nil
	case V2IP:
		if len(d.Data)+1 > V2MaxDatagram {
			return dst, fmt.Errorf("packet of %d bytes: %w", len(d.Data), ErrTooLarge)
		}
		dst = append(dst, d.Data...)
	case V2TracedIP, V2Spans:
		if len(d.Data)+TracingSize+1 > V2MaxDatagram {
			return dst, fmt.Errorf("traced packet of %d bytes: %w", len(d.Data), ErrTooLarge)
		}
		dst = d.Tracing.Append(append(dst, d.Data...))
	default:
		return dst, fmt.Errorf("type %d: %w", d.Type, ErrUnknownType)
	}
	return append(dst, byte(d.Type)), nil
}

// AppendV2UDP adds a V2UDP datagram of any size: towards a connector there is no limit but the transport's.
func AppendV2UDP(dst []byte, id ID, payload []byte) []byte {
	dst = append(dst, payload...)
	dst = append(dst, id[:]...)
	return append(dst, byte(V2UDP))
}

// ParseV2 reads a datagram of version 2.
func ParseV2(b []byte) (V2, error) {
	end := len(b) - 1
	if end < 0 {
		return V2{}, ErrShort
	}
	d := V2{Type: V2Type(b[end])}
	switch d.Type {
	case V2UDP:
		if end < IDSize {
			return V2{}, fmt.Errorf("session id of %d bytes: %w", end, ErrShort)
		}
		d.Data, d.ID = b[:end-IDSize:end-IDSize], ID(b[end-IDSize:end])
	case V2IP:
		d.Data = b[:end:end]
	case V2TracedIP, V2Spans:
		cut := end - TracingSize
		if cut < 0 {
			return V2{}, fmt.Errorf("tracing identity of %d bytes: %w", end, ErrShort)
		}
		d.Data = b[:cut:cut]
		d.Tracing, _ = ParseTracing(b[cut:end]) // the size is right
	case V2Fragment: // ParseFragment reads the rest
	default:
		return V2{}, fmt.Errorf("type %d: %w", d.Type, ErrUnknownType)
	}
	return d, nil
}
