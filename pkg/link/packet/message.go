package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
)

// Type is the type of a message.
type Type uint8

// The types of messages. Values travel on the link and never change.
const (
	Register   Type = 1
	Payload    Type = 2
	Unregister Type = 3
	ICMP       Type = 4
	Registered Type = 5
	Ended      Type = 6
	Unknown    Type = 7
)

// Sizes of a message.
const (
	lengthSize = 2
	// MaxSize is the largest message with its length.
	MaxSize = lengthSize + 0xffff
	// MaxText is the longest text that Append writes; longer ones are cut.
	MaxText = datagram.V3MaxText
)

const (
	typeSize        = 1
	idSize          = datagram.IDSize
	registerFixed   = typeSize + idSize + 1 + 4 + 1 // up to the address
	resultRequested = 0x01
)

// Errors of the codec. Compare with errors.Is.
var (
	// ErrShort means that b ends before the message does: read more and parse again.
	ErrShort = errors.New("more bytes needed")
	// ErrMalformed means that the bytes are not a valid message. The rest of the stream cannot be parsed.
	ErrMalformed = errors.New("malformed message")
	// ErrTooLarge means that a message does not fit its length field.
	ErrTooLarge = errors.New("message too large")
)

// Message is a message of any type. The comments say which types use which field.
type Message struct {
	Type Type
	// ID is the session of all types but ICMP. Unknown has nothing else.
	ID datagram.ID
	// Data is the payload of Payload, the bundled one of Register (empty: none), the packet of ICMP. After Parse it is a
	// part of the input.
	Data []byte
	// Text is the reason of Unregister and Ended, and the explanation of Registered.
	Text string

	// Dest, Idle and WantResult belong to Register. Idle travels in milliseconds up to 49 days; 0 is datagram.DefaultIdle.
	Dest       netip.AddrPort
	Idle       time.Duration
	WantResult bool

	// Result belongs to Registered.
	Result datagram.Result
}

// Append adds the message to dst. After an error dst is as it was.
func (m *Message) Append(dst []byte) ([]byte, error) {
	start := len(dst)
	dst = append(dst, 0, 0, byte(m.Type))
	if m.Type != ICMP {
		dst = append(dst, m.ID[:]...)
	}
	switch m.Type {
	case Register:
		if !m.Dest.IsValid() || m.Dest.Addr().Zone() != "" {
			return dst[:start], datagram.ErrAddress
		}
		dst = m.appendRegister(dst)
	case Payload, ICMP:
		dst = append(dst, m.Data...)
	case Unknown:
	case Unregister, Ended:
		dst = append(dst, clip(m.Text)...)
	case Registered:
		dst = append(append(dst, byte(m.Result)), clip(m.Text)...)
	default:
		return dst[:start], fmt.Errorf("type %d: %w", m.Type, ErrMalformed)
	}
	n := len(dst) - start - lengthSize
	if n > 0xffff {
		return dst[:start], fmt.Errorf("message of %d bytes: %w", n, ErrTooLarge)
	}
	binary.BigEndian.PutUint16(dst[start:], uint16(n))
	return dst, nil
}

func (m *Message) appendRegister(dst []byte) []byte {
	var flags byte
	if m.WantResult {
		flags |= resultRequested
	}
	addr := m.Dest.Addr().AsSlice()
	dst = append(dst, flags)
	dst = binary.BigEndian.AppendUint32(dst, idleMillis(m.Idle))
	dst = append(append(dst, byte(len(addr))), addr...)
	dst = binary.BigEndian.AppendUint16(dst, m.Dest.Port())
	return append(dst, m.Data...)
}

// idleMillis rounds a positive time below a millisecond up to one, since 0 stands for the default.
func idleMillis(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	return uint32(min(max(d/time.Millisecond, 1), 0xffffffff))
}

func clip(text string) string { return text[:min(len(text), MaxText)] }

// Parse reads the message at the start of b into m, and returns its size. While the message is incomplete it returns ErrShort,
// and n is a lower bound of its size. Of a message of an unknown type only Type is set.
func Parse(b []byte, m *Message) (n int, err error) {
	*m = Message{}
	if len(b) < lengthSize {
		return lengthSize, ErrShort
	}
	n = lengthSize + int(binary.BigEndian.Uint16(b))
	if len(b) < n {
		return n, ErrShort
	}
	body := b[lengthSize:n:n]
	if len(body) < typeSize {
		return n, fmt.Errorf("no type: %w", ErrMalformed)
	}
	m.Type = Type(body[0])
	rest := body[typeSize:]
	switch m.Type {
	case ICMP:
		m.Data = rest
		return n, nil
	case Register, Payload, Unregister, Registered, Ended, Unknown:
		if len(rest) < idSize {
			return n, fmt.Errorf("type %d of %d bytes: %w", m.Type, len(body), ErrMalformed)
		}
		m.ID, rest = datagram.ID(rest), rest[idSize:]
		return n, m.parseFields(body, rest)
	default:
		return n, nil
	}
}

// parseFields reads what follows the id.
func (m *Message) parseFields(body, rest []byte) error {
	switch m.Type {
	case Unknown: // a later version may add fields
	case Payload:
		m.Data = rest
	case Unregister, Ended:
		m.Text = string(rest)
	case Registered:
		if len(rest) == 0 {
			return fmt.Errorf("no result: %w", ErrMalformed)
		}
		m.Result, m.Text = datagram.Result(rest[0]), string(rest[1:])
	default:
		return m.parseRegister(body)
	}
	return nil
}

func (m *Message) parseRegister(body []byte) error {
	if len(body) < registerFixed {
		return fmt.Errorf("registration of %d bytes: %w", len(body), ErrMalformed)
	}
	at := typeSize + idSize
	m.WantResult = body[at]&resultRequested != 0
	m.Idle = time.Duration(binary.BigEndian.Uint32(body[at+1:])) * time.Millisecond
	size := int(body[registerFixed-1])
	rest := body[registerFixed:]
	if size != 4 && size != 16 || len(rest) < size+2 {
		return fmt.Errorf("address of %d bytes in %d: %w", size, len(rest), ErrMalformed)
	}
	addr, _ := netip.AddrFromSlice(rest[:size]) // 4 or 16 bytes
	m.Dest = netip.AddrPortFrom(addr, binary.BigEndian.Uint16(rest[size:]))
	m.Data = rest[size+2:]
	return nil
}
