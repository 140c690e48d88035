package icmp

import (
	"encoding/binary"
	"net/netip"
)

// The largest quotes of the packet that an error is about: 576 and 1280 bytes with all headers.
const (
	MaxQuote4 = 576 - header4 - headerICMP
	MaxQuote6 = 1280 - header6 - headerICMP
)

// Fault is the content of an ICMP error: why a router or a host dropped a packet.
type Fault struct {
	Type, Code uint8
	// Info is the second word of the message: the MTU of TooBig6, and of Unreachable4 with CodeFragmentationNeeded.
	Info uint32
}

// TimeExceeded is the fault of a packet whose time to live has run out.
func TimeExceeded(is6 bool) Fault {
	if is6 {
		return Fault{Type: TimeExceeded6}
	}
	return Fault{Type: TimeExceeded4}
}

// AppendError appends a complete ICMP error packet to dst, from router to the address to, about the packet in original. The
// quote of original is cut to what the family allows.
func AppendError(dst []byte, router, to netip.Addr, f Fault, original []byte) ([]byte, error) {
	limit := MaxQuote4
	if router.Is6() {
		limit = MaxQuote6
	}
	original = original[:min(len(original), limit)]
	start := len(dst)
	dst, err := appendIP(dst, router, to, ReplyTTL, headerICMP+len(original))
	if err != nil {
		return dst[:start], err
	}
	at := len(dst)
	dst = append(dst, f.Type, f.Code, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, f.Info)
	dst = append(dst, original...)
	seal(dst, at, router, to)
	return dst, nil
}

// IsError reports whether the message is about another packet.
func (p *Packet) IsError() bool {
	if p.Is6() {
		return p.Type < 128
	}
	switch p.Type {
	case Unreachable4, TimeExceeded4, 4, 5, 12: // source quench, redirect, parameter problem
		return true
	default:
		return false
	}
}

// Fault gives the content of an error message.
func (p *Packet) Fault() Fault {
	return Fault{Type: p.Type, Code: p.Code, Info: binary.BigEndian.Uint32(p.Message[4:])}
}

// DecrementTTL lowers the time to live of a parsed packet in its bytes, and repairs the header's checksum. It reports
// false, and changes nothing, when the packet may travel no further.
func (p *Packet) DecrementTTL() bool {
	if p.TTL <= 1 {
		return false
	}
	p.TTL--
	if p.Is6() {
		p.Raw[7] = p.TTL
		return true
	}
	p.Raw[8] = p.TTL
	header := p.Raw[:len(p.Raw)-len(p.Message)]
	header[10], header[11] = 0, 0
	binary.BigEndian.PutUint16(header[10:], checksum(header, 0))
	return true
}
