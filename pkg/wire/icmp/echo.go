package icmp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Echo is the content of an echo request or reply.
type Echo struct {
	ID, Seq uint16
	// Data is a part of the parsed bytes.
	Data []byte
}

// Direction is request or reply.
type Direction bool

// The two echo messages.
const (
	Request Direction = false
	Reply   Direction = true
)

// ReplyTTL is the time to live of everything that goes back to the edge.
const ReplyTTL = 255

// Echo gives the content of an echo request or reply.
func (p *Packet) Echo() (Echo, error) {
	if !p.IsEchoRequest() && !p.IsEchoReply() {
		return Echo{}, fmt.Errorf("type %d code %d: %w", p.Type, p.Code, ErrNotEcho)
	}
	return echoOf(p.Message), nil
}

func echoOf(m []byte) Echo {
	return Echo{ID: binary.BigEndian.Uint16(m[4:]), Seq: binary.BigEndian.Uint16(m[6:]), Data: m[headerICMP:]}
}

// Append adds a complete packet with the echo to dst.
func (e Echo) Append(dst []byte, from, to netip.Addr, ttl uint8, dir Direction) ([]byte, error) {
	start := len(dst)
	dst, err := appendIP(dst, from, to, ttl, headerICMP+len(e.Data))
	if err != nil {
		return dst[:start], err
	}
	at := len(dst)
	dst = e.appendMessage(dst, from.Is6(), dir)
	seal(dst, at, from, to)
	return dst, nil
}

// AppendMessage adds the message without an IP header to dst, as ping sockets take it: the system sets id and checksum.
func (e Echo) AppendMessage(dst []byte, is6 bool) []byte { return e.appendMessage(dst, is6, Request) }

func (e Echo) appendMessage(dst []byte, is6 bool, dir Direction) []byte {
	dst = append(dst, echoType(is6, dir), 0, 0, 0)
	dst = binary.BigEndian.AppendUint16(dst, e.ID)
	dst = binary.BigEndian.AppendUint16(dst, e.Seq)
	return append(dst, e.Data...)
}

func echoType(is6 bool, dir Direction) byte {
	switch {
	case is6 && dir == Reply:
		return EchoReply6
	case is6:
		return EchoRequest6
	case dir == Reply:
		return EchoReply4
	default:
		return EchoRequest4
	}
}

// ParseMessage reads an echo message without an IP header, as ping sockets give it. It gives ErrNotEcho for other
// messages.
func ParseMessage(b []byte, is6 bool, dir Direction) (Echo, error) {
	switch {
	case len(b) < headerICMP:
		return Echo{}, fmt.Errorf("icmp message of %d bytes: %w", len(b), ErrShort)
	case b[0] != echoType(is6, dir) || b[1] != 0:
		return Echo{}, fmt.Errorf("type %d code %d: %w", b[0], b[1], ErrNotEcho)
	default:
		return echoOf(b), nil
	}
}
