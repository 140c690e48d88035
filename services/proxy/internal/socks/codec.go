package socks

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

const (
	version    = 5
	methodNone = 0x00
	methodFail = 0xff

	addrIPv4 = 1
	addrName = 3
	addrIPv6 = 4

	maxText = 255 // of a name, and of the list of methods
)

// MaxGreeting and MaxRequest bound what a client sends.
const (
	MaxGreeting = 2 + maxText
	MaxRequest  = 4 + 1 + maxText + 2
)

// Connect is the command that opens a connection.
const Connect = 1

// Reply is the server's response to a request.
type Reply uint8

// The replies that we give.
const (
	Succeeded          Reply = 0
	NotAllowed         Reply = 2
	NetworkUnreachable Reply = 3
	HostUnreachable    Reply = 4
	Refused            Reply = 5
	BadCommand         Reply = 7
	BadAddressType     Reply = 8
)

// Errors of the codec and of the handshake. Compare with errors.Is.
var (
	// ErrShort says that b ends before the message does: read more and parse again.
	ErrShort = errors.New("more bytes needed")
	// ErrVersion says that the client speaks another version.
	ErrVersion = errors.New("Unsupported SOCKS version") //nolint:staticcheck // the reference's text
	// ErrMethod says that the client does not offer the method "no authentication".
	ErrMethod = errors.New("no acceptable SOCKS authentication method")
	// ErrCommand says that the client asks for something else than CONNECT.
	ErrCommand = errors.New("unsupported SOCKS command")
	// ErrAddress says that the client names a destination in an unknown form.
	ErrAddress = errors.New("unsupported SOCKS address type")
)

// Address is a destination: an IP address, or a name when IP is not valid.
type Address struct {
	IP   netip.Addr
	Name string
	Port uint16
}

// AddressOf is the address of an end of a connection.
func AddressOf(a netip.AddrPort) Address { return Address{IP: a.Addr(), Port: a.Port()} }

// String is host:port.
func (a Address) String() string {
	host := a.Name
	if a.IP.IsValid() {
		host = a.IP.String()
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(a.Port))
}

// Request is what a client asks for.
type Request struct {
	Command uint8
	To      Address
}

// ParseGreeting reads the client's first message: whether it offers to go without authentication, and the message's size.
func ParseGreeting(b []byte) (open bool, n int, err error) {
	if len(b) > 0 && b[0] != version {
		return false, 0, ErrVersion
	}
	if len(b) < 2 || len(b) < 2+int(b[1]) {
		return false, 0, ErrShort
	}
	n = 2 + int(b[1])
	for _, m := range b[2:n] {
		open = open || m == methodNone
	}
	return open, n, nil
}

// ParseRequest reads the client's second message and gives its size.
func ParseRequest(b []byte) (r Request, n int, err error) {
	if len(b) > 0 && b[0] != version {
		return Request{}, 0, ErrVersion
	}
	const fixed = 4
	if len(b) < fixed {
		return Request{}, 0, ErrShort
	}
	r.Command = b[1]
	r.To, n, err = parseAddress(b[fixed-1:])
	if err != nil {
		return Request{Command: r.Command}, 0, err
	}
	return r, fixed - 1 + n, nil
}

// parseAddress reads type, address and port.
func parseAddress(b []byte) (a Address, n int, err error) {
	var size int
	at := 1
	switch b[0] {
	case addrIPv4:
		size = 4
	case addrIPv6:
		size = 16
	case addrName:
		if len(b) < 2 {
			return Address{}, 0, ErrShort
		}
		at, size = 2, int(b[1])
		if size == 0 {
			return Address{}, 0, fmt.Errorf("%w: empty name", ErrAddress)
		}
	default:
		return Address{}, 0, ErrAddress
	}
	n = at + size + 2
	if len(b) < n {
		return Address{}, 0, ErrShort
	}
	if b[0] == addrName {
		a.Name = string(b[at : at+size])
	} else {
		a.IP, _ = netip.AddrFromSlice(b[at : at+size])
	}
	a.Port = binary.BigEndian.Uint16(b[at+size:])
	return a, n, nil
}

// AppendMethod appends the response to the greeting.
func AppendMethod(dst []byte, open bool) []byte {
	if open {
		return append(dst, version, methodNone)
	}
	return append(dst, version, methodFail)
}

// AppendReply appends the response to the request. An address that is neither an IP address nor a name is sent as 0.0.0.0.
func AppendReply(dst []byte, r Reply, a Address) []byte {
	dst = append(dst, version, byte(r), 0)
	ip := a.IP.WithZone("")
	switch {
	case ip.Is4(), ip.Is4In6():
		dst = append(append(dst, addrIPv4), ip.Unmap().AsSlice()...)
	case ip.Is6():
		dst = append(append(dst, addrIPv6), ip.AsSlice()...)
	case a.Name != "" && len(a.Name) <= maxText:
		dst = append(append(dst, addrName, byte(len(a.Name))), a.Name...)
	default:
		dst = append(dst, addrIPv4, 0, 0, 0, 0)
	}
	return binary.BigEndian.AppendUint16(dst, a.Port)
}
