package datagram

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// V3Type is the first byte of a datagram of version 3.
type V3Type uint8

// The types of version 3.
const (
	V3Registration V3Type = 0
	V3Payload      V3Type = 1
	V3ICMP         V3Type = 2
	V3Response     V3Type = 3
)

// Limits of version 3.
const (
	// V3MaxICMP is the largest IP packet.
	V3MaxICMP = 1280
	// V3MaxText is the longest text of a response.
	V3MaxText = 1260
	// V3MaxBundled4 and V3MaxBundled6 are the largest payloads that an edge should bundle with a registration of an
	// IPv4 or IPv6 destination, so that the datagram passes wherever a payload of MaxPayload does.
	V3MaxBundled4 = 1280 - registration4
	V3MaxBundled6 = 1280 - registration6
	// DefaultIdle is the idle time of a registration with idle time 0.
	DefaultIdle = 210 * time.Second
)

const (
	payloadHeader  = 1 + IDSize
	responseHeader = 1 + 1 + IDSize + 2
	addressAt      = 1 + 1 + 2 + 2 + IDSize
	registration4  = addressAt + 4
	registration6  = addressAt + 16
	// The reference adds the size of the header to this limit where it should subtract it. Ours accepts as much.
	maxBundled4 = 1280 + registration4
	maxBundled6 = 1280 + registration6
)

// Flags of a registration.
const (
	flagIPv6    = 0x01
	flagTraced  = 0x02
	flagBundled = 0x04
)

// Registration asks for a session, or moves one to the connection that it came on.
type Registration struct {
	ID   ID
	Dest netip.AddrPort
	// Idle ends the session after so long without a datagram in either direction; 0 is DefaultIdle. The wire holds whole
	// seconds up to 65535: fractions are cut off, except that something below a second becomes one.
	Idle   time.Duration
	Traced bool
	// Payload is the first datagram of the session, or nil. A stock connector reads and loses it.
	Payload []byte
}

// Append adds the datagram to dst.
func (r *Registration) Append(dst []byte) ([]byte, error) {
	if !r.Dest.IsValid() || r.Dest.Addr().Zone() != "" {
		return dst, ErrAddress
	}
	var flags byte
	limit := maxBundled4
	if r.Dest.Addr().Is6() { // also when it maps an IPv4 address
		flags |= flagIPv6
		limit = maxBundled6
	}
	if r.Traced {
		flags |= flagTraced
	}
	if len(r.Payload) > limit {
		return dst, fmt.Errorf("bundled payload of %d bytes: %w", len(r.Payload), ErrTooLarge)
	}
	if len(r.Payload) > 0 {
		flags |= flagBundled
	}
	dst = append(dst, byte(V3Registration), flags)
	dst = binary.BigEndian.AppendUint16(dst, r.Dest.Port())
	dst = binary.BigEndian.AppendUint16(dst, idleSeconds(r.Idle))
	dst = append(dst, r.ID[:]...)
	dst = append(dst, r.Dest.Addr().AsSlice()...)
	return append(dst, r.Payload...), nil
}

func idleSeconds(d time.Duration) uint16 {
	if d <= 0 {
		return 0
	}
	return uint16(min(max(d/time.Second, 1), 0xffff))
}

// ParseRegistration reads a registration. Its Payload is nil unless the datagram says that one is bundled.
func ParseRegistration(b []byte) (Registration, error) {
	if err := expect(b, V3Registration, registration4); err != nil {
		return Registration{}, err
	}
	flags := b[1]
	size := registration4
	if flags&flagIPv6 != 0 {
		size = registration6
	}
	if len(b) < size {
		return Registration{}, fmt.Errorf("registration of %d bytes: %w", len(b), ErrShort)
	}
	addr, _ := netip.AddrFromSlice(b[addressAt:size]) // 4 or 16 bytes
	r := Registration{
		ID:     ID(b[6:addressAt]),
		Dest:   netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[2:])),
		Idle:   time.Duration(binary.BigEndian.Uint16(b[4:])) * time.Second,
		Traced: flags&flagTraced != 0,
	}
	if flags&flagBundled != 0 && len(b) > size {
		r.Payload = b[size:]
	}
	return r, nil
}

// AppendPayload adds a V3Payload datagram to dst.
func AppendPayload(dst []byte, id ID, payload []byte) ([]byte, error) {
	if len(payload) > MaxPayload {
		return dst, fmt.Errorf("udp payload of %d bytes: %w", len(payload), ErrTooLarge)
	}
	dst = append(dst, byte(V3Payload))
	dst = append(dst, id[:]...)
	return append(dst, payload...), nil
}

// ParsePayload reads a V3Payload datagram.
func ParsePayload(b []byte) (ID, []byte, error) {
	if err := expect(b, V3Payload, payloadHeader); err != nil {
		return ID{}, nil, err
	}
	if n := len(b) - payloadHeader; n > MaxPayload {
		return ID{}, nil, fmt.Errorf("udp payload of %d bytes: %w", n, ErrTooLarge)
	}
	return ID(b[1:payloadHeader]), b[payloadHeader:], nil
}

// AppendICMP adds a V3ICMP datagram to dst.
func AppendICMP(dst, packet []byte) ([]byte, error) {
	if err := checkICMP(packet); err != nil {
		return dst, err
	}
	return append(append(dst, byte(V3ICMP)), packet...), nil
}

// ParseICMP reads a V3ICMP datagram and gives the packet.
func ParseICMP(b []byte) ([]byte, error) {
	if err := expect(b, V3ICMP, 1); err != nil {
		return nil, err
	}
	if err := checkICMP(b[1:]); err != nil {
		return nil, err
	}
	return b[1:], nil
}

func checkICMP(packet []byte) error {
	switch {
	case len(packet) == 0:
		return fmt.Errorf("icmp packet: %w", ErrShort)
	case len(packet) > V3MaxICMP:
		return fmt.Errorf("icmp packet of %d bytes: %w", len(packet), ErrTooLarge)
	default:
		return nil
	}
}

// TypeV3 gives the type of a datagram of version 3.
func TypeV3(b []byte) (V3Type, error) {
	if len(b) == 0 {
		return 0, ErrShort
	}
	t := V3Type(b[0])
	if t > V3Response && t != V3Fragment {
		return t, fmt.Errorf("type %d: %w", t, ErrUnknownType)
	}
	return t, nil
}

// expect checks the type, and that the fixed part is complete.
func expect(b []byte, want V3Type, size int) error {
	got, err := TypeV3(b)
	switch {
	case err != nil:
		return err
	case got != want:
		return fmt.Errorf("type %d, want %d: %w", got, want, ErrUnknownType)
	case len(b) < size:
		return fmt.Errorf("type %d of %d bytes: %w", got, len(b), ErrShort)
	default:
		return nil
	}
}
