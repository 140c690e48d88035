package icmp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Sizes of headers.
const (
	header4    = 20
	header6    = 40
	headerICMP = 8
)

// Numbers of the two protocols in an IP header.
const (
	protocol4 = 1
	protocol6 = 58
)

// Kinds of messages in IPv4 and in IPv6.
const (
	EchoReply4    = 0
	Unreachable4  = 3
	EchoRequest4  = 8
	TimeExceeded4 = 11

	Unreachable6  = 1
	TooBig6       = 2
	TimeExceeded6 = 3
	EchoRequest6  = 128
	EchoReply6    = 129
)

// CodeFragmentationNeeded is the code of Unreachable4 that corresponds to TooBig6.
const CodeFragmentationNeeded = 4

// Errors of the codec. Compare with errors.Is.
var (
	// ErrShort means that the packet ends before its headers, or is shorter than its length field.
	ErrShort = errors.New("packet too short")
	// ErrVersion means that the packet is neither IPv4 nor IPv6.
	ErrVersion = errors.New("unknown ip version")
	// ErrHeader means that a header contradicts itself.
	ErrHeader = errors.New("malformed ip header")
	// ErrNotICMP means that the packet carries another protocol.
	ErrNotICMP = errors.New("packet carries no icmp")
	// ErrFragment means that the packet is a part of a larger one.
	ErrFragment = errors.New("packet is a fragment")
	// ErrNotEcho means that the message is not an echo request or reply.
	ErrNotEcho = errors.New("message is no echo")
	// ErrTooLarge means that a packet is too large for its length field.
	ErrTooLarge = errors.New("packet too large")
	// ErrFamily means that the two addresses of a packet have different families.
	ErrFamily = errors.New("addresses of two families")
)

// Packet is an IP packet with an ICMP message.
type Packet struct {
	Src, Dst netip.Addr
	// TTL is the hop limit of IPv6.
	TTL        uint8
	Type, Code uint8
	// Raw is the whole packet, Message the ICMP message from its type on. Both are parts of the parsed bytes.
	Raw, Message []byte
}

// Is6 reports whether the packet is IPv6.
func (p *Packet) Is6() bool { return p.Src.Is6() }

// Parse reads a packet.
func Parse(b []byte) (Packet, error) {
	if len(b) == 0 {
		return Packet{}, ErrShort
	}
	var (
		p   Packet
		err error
	)
	switch b[0] >> 4 {
	case 4:
		err = p.parse4(b)
	case 6:
		err = p.parse6(b)
	default:
		err = fmt.Errorf("version %d: %w", b[0]>>4, ErrVersion)
	}
	if err != nil {
		return Packet{}, err
	}
	if len(p.Message) < headerICMP {
		return Packet{}, fmt.Errorf("icmp message of %d bytes: %w", len(p.Message), ErrShort)
	}
	p.Type, p.Code = p.Message[0], p.Message[1]
	return p, nil
}

func (p *Packet) parse4(b []byte) error {
	if len(b) < header4 {
		return fmt.Errorf("ipv4 header of %d bytes: %w", len(b), ErrShort)
	}
	size, total := int(b[0]&0x0f)*4, int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case size < header4 || total < size:
		return fmt.Errorf("ipv4 header of %d in %d bytes: %w", size, total, ErrHeader)
	case total > len(b):
		return fmt.Errorf("ipv4 packet of %d bytes, want %d: %w", len(b), total, ErrShort)
	case binary.BigEndian.Uint16(b[6:])&0x3fff != 0: // more fragments, or an offset
		return ErrFragment
	case b[9] != protocol4:
		return fmt.Errorf("protocol %d: %w", b[9], ErrNotICMP)
	}
	p.Src, p.Dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	p.TTL, p.Raw, p.Message = b[8], b[:total:total], b[size:total:total]
	return nil
}

func (p *Packet) parse6(b []byte) error {
	if len(b) < header6 {
		return fmt.Errorf("ipv6 header of %d bytes: %w", len(b), ErrShort)
	}
	total := header6 + int(binary.BigEndian.Uint16(b[4:]))
	switch {
	case total > len(b):
		return fmt.Errorf("ipv6 packet of %d bytes, want %d: %w", len(b), total, ErrShort)
	case b[6] == 44:
		return ErrFragment
	case b[6] != protocol6:
		return fmt.Errorf("next header %d: %w", b[6], ErrNotICMP)
	}
	p.Src, p.Dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	p.TTL, p.Raw, p.Message = b[7], b[:total:total], b[header6:total:total]
	return nil
}

// IsEchoRequest reports whether the message is an echo request.
func (p *Packet) IsEchoRequest() bool {
	return p.Code == 0 && (p.Is6() && p.Type == EchoRequest6 || !p.Is6() && p.Type == EchoRequest4)
}

// IsEchoReply reports whether the message is the reply to an echo request.
func (p *Packet) IsEchoReply() bool {
	return p.Code == 0 && (p.Is6() && p.Type == EchoReply6 || !p.Is6() && p.Type == EchoReply4)
}

// Quote parses the beginning of the packet that an error message quotes. The Message of the result may be cut short, but
// has the echo's id and sequence.
func (p *Packet) Quote() (Packet, error) {
	inner := p.Message[headerICMP:]
	if len(inner) == 0 {
		return Packet{}, ErrShort
	}
	// The length fields give the length of the whole packet, of which only the head is here.
	whole := append([]byte(nil), inner...)
	switch {
	case whole[0]>>4 == 4 && len(whole) >= header4:
		binary.BigEndian.PutUint16(whole[2:], uint16(min(len(whole), int(binary.BigEndian.Uint16(whole[2:])))))
	case whole[0]>>4 == 6 && len(whole) >= header6:
		binary.BigEndian.PutUint16(whole[4:], uint16(min(len(whole)-header6, int(binary.BigEndian.Uint16(whole[4:])))))
	}
	return Parse(whole)
}

// appendIP adds an IP header for a message of n bytes.
func appendIP(dst []byte, from, to netip.Addr, ttl uint8, n int) ([]byte, error) {
	switch {
	case from.Is4() && to.Is4():
		if n > 0xffff-header4 {
			return dst, fmt.Errorf("icmp message of %d bytes: %w", n, ErrTooLarge)
		}
		start := len(dst)
		dst = append(dst, 0x45, 0)
		dst = binary.BigEndian.AppendUint16(dst, uint16(header4+n))
		dst = append(dst, 0, 0, 0, 0, ttl, protocol4, 0, 0)
		dst = append(append(dst, from.AsSlice()...), to.AsSlice()...)
		binary.BigEndian.PutUint16(dst[start+10:], checksum(dst[start:], 0))
		return dst, nil
	case from.Is6() && to.Is6():
		if n > 0xffff {
			return dst, fmt.Errorf("icmp message of %d bytes: %w", n, ErrTooLarge)
		}
		dst = append(dst, 0x60, 0, 0, 0)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
		dst = append(dst, protocol6, ttl)
		return append(append(dst, from.AsSlice()...), to.AsSlice()...), nil
	default:
		return dst, fmt.Errorf("%s and %s: %w", from, to, ErrFamily)
	}
}

// seal puts the checksum into the message that begins at start.
func seal(b []byte, start int, from, to netip.Addr) {
	m := b[start:]
	m[2], m[3] = 0, 0
	var sum uint32
	if from.Is6() {
		sum = pseudo6(from, to, len(m))
	}
	binary.BigEndian.PutUint16(m[2:], checksum(m, sum))
}

// pseudo6 is the sum of what the checksum of ICMPv6 covers besides the message.
func pseudo6(from, to netip.Addr, n int) uint32 {
	a, b := from.As16(), to.As16()
	return sum16(a[:], sum16(b[:], uint32(n)+protocol6))
}

// checksum is the internet checksum of b, on top of a sum.
func checksum(b []byte, sum uint32) uint16 {
	sum = sum16(b, sum)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func sum16(b []byte, sum uint32) uint32 {
	for len(b) >= 2 {
		sum += uint32(b[0])<<8 | uint32(b[1])
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum>>16 + sum&0xffff
}

// Valid reports whether the checksums of a parsed packet are right.
func (p *Packet) Valid() bool {
	var sum uint32
	if p.Is6() {
		sum = pseudo6(p.Src, p.Dst, len(p.Message))
	} else if checksum(p.Raw[:len(p.Raw)-len(p.Message)], 0) != 0 {
		return false
	}
	return checksum(p.Message, sum) == 0
}
