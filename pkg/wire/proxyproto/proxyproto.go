package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Version is the form of a header.
type Version uint8

// The versions. None sends no header.
const (
	None Version = 0
	V1   Version = 1
	V2   Version = 2
)

// MaxHeader is the size of the largest header without extensions.
const MaxHeader = 107

// maxBody bounds what may follow the fixed part of version 2, in bytes.
const maxBody = 4 << 10

const (
	prefix1    = "PROXY "
	signature2 = "\r\n\r\n\x00\r\nQUIT\n"
	fixed2     = len(signature2) + 4

	commandLocal   = 0x20
	commandProxied = 0x21
	familyUnknown  = 0x00
	familyTCP4     = 0x11
	familyTCP6     = 0x21
	sizeTCP4       = 2*4 + 2*2
	sizeTCP6       = 2*16 + 2*2
)

// Errors of the codec. Compare with errors.Is.
var (
	// ErrShort means that b ends before the header does: read more and parse again.
	ErrShort = errors.New("more bytes needed")
	// ErrMalformed means that the bytes are not a header.
	ErrMalformed = errors.New("malformed proxy protocol header")
	// ErrUnknownVersion means that a text is not the name of a version.
	ErrUnknownVersion = errors.New("unknown proxy protocol version, known are v1 and v2")
)

// String is the text of the setting.
func (v Version) String() string {
	switch v {
	case V1:
		return "v1"
	case V2:
		return "v2"
	default:
		return ""
	}
}

// ParseVersion reads the text of a setting; an empty one is None.
func ParseVersion(text string) (Version, error) {
	switch text {
	case "":
		return None, nil
	case "v1":
		return V1, nil
	case "v2":
		return V2, nil
	}
	return None, ErrUnknownVersion
}

// Header has the two ends of a proxied connection. If either is not valid, both are unknown.
type Header struct {
	Source      netip.AddrPort
	Destination netip.AddrPort
}

// Known reports whether both ends are known.
func (h Header) Known() bool { return h.Source.IsValid() && h.Destination.IsValid() }

// same gives both ends in one family: IPv4 when both are, else IPv6 with IPv4 mapped into it.
func (h Header) same() (src, dst netip.AddrPort) {
	s, d := h.Source.Addr().Unmap().WithZone(""), h.Destination.Addr().Unmap().WithZone("")
	if s.Is4() != d.Is4() {
		s, d = netip.AddrFrom16(s.As16()), netip.AddrFrom16(d.As16())
	}
	return netip.AddrPortFrom(s, h.Source.Port()), netip.AddrPortFrom(d, h.Destination.Port())
}

// Append appends the header in the form of v to dst.
func (h Header) Append(dst []byte, v Version) []byte {
	switch v {
	case V1:
		return h.append1(dst)
	case V2:
		return h.append2(dst)
	default:
		return dst
	}
}

func (h Header) append1(dst []byte) []byte {
	if !h.Known() {
		return append(dst, prefix1+"UNKNOWN\r\n"...)
	}
	src, to := h.same()
	family := "TCP4 "
	if src.Addr().BitLen() == 128 {
		family = "TCP6 "
	}
	dst = append(append(dst, prefix1...), family...)
	dst = append(src.Addr().AppendTo(dst), ' ')
	dst = append(to.Addr().AppendTo(dst), ' ')
	dst = append(strconv.AppendUint(dst, uint64(src.Port()), 10), ' ')
	return append(strconv.AppendUint(dst, uint64(to.Port()), 10), '\r', '\n')
}

func (h Header) append2(dst []byte) []byte {
	dst = append(dst, signature2...)
	if !h.Known() {
		return append(dst, commandLocal, familyUnknown, 0, 0)
	}
	src, to := h.same()
	if src.Addr().Is4() {
		dst = append(dst, commandProxied, familyTCP4, 0, sizeTCP4)
	} else {
		dst = append(dst, commandProxied, familyTCP6, 0, sizeTCP6)
	}
	dst = append(append(dst, src.Addr().AsSlice()...), to.Addr().AsSlice()...)
	dst = binary.BigEndian.AppendUint16(dst, src.Port())
	return binary.BigEndian.AppendUint16(dst, to.Port())
}

// Parse reads the header at the start of b, of either version, and gives its size. Addresses of a family other than TCP
// over IP are unknown.
func Parse(b []byte) (h Header, n int, err error) {
	switch {
	case agrees(b, signature2):
		return parse2(b)
	case agrees(b, prefix1):
		return parse1(b)
	}
	return Header{}, 0, ErrMalformed
}

// agrees reports whether b could begin with s.
func agrees(b []byte, s string) bool {
	n := min(len(b), len(s))
	return string(b[:n]) == s[:n]
}

func parse1(b []byte) (Header, int, error) {
	end := bytes.Index(b[:min(len(b), MaxHeader)], []byte("\r\n"))
	if end < 0 {
		if len(b) >= MaxHeader {
			return Header{}, 0, ErrMalformed
		}
		return Header{}, 0, ErrShort
	}
	if end < len(prefix1) {
		return Header{}, 0, ErrMalformed
	}
	n := end + len("\r\n")
	fields := strings.Split(string(b[len(prefix1):end]), " ")
	if fields[0] == "UNKNOWN" {
		return Header{}, n, nil // whatever else the line says
	}
	const all = 5
	if len(fields) != all || fields[0] != "TCP4" && fields[0] != "TCP6" {
		return Header{}, 0, ErrMalformed
	}
	src, err1 := parseEnd(fields[1], fields[3], fields[0] == "TCP4")
	dst, err2 := parseEnd(fields[2], fields[4], fields[0] == "TCP4")
	if err := errors.Join(err1, err2); err != nil {
		return Header{}, 0, err
	}
	return Header{Source: src, Destination: dst}, n, nil
}

func parseEnd(addr, port string, is4 bool) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Is4() != is4 || a.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("%w: address", ErrMalformed)
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || port != strconv.FormatUint(p, 10) {
		return netip.AddrPort{}, fmt.Errorf("%w: port", ErrMalformed)
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), nil
}

func parse2(b []byte) (Header, int, error) {
	if len(b) < fixed2 {
		return Header{}, 0, ErrShort
	}
	command, family := b[len(signature2)], b[len(signature2)+1]
	size := int(binary.BigEndian.Uint16(b[len(signature2)+2:]))
	if command != commandLocal && command != commandProxied || size > maxBody {
		return Header{}, 0, ErrMalformed
	}
	n := fixed2 + size
	if len(b) < n {
		return Header{}, 0, ErrShort
	}
	if command == commandLocal {
		return Header{}, n, nil
	}
	body := b[fixed2:n]
	switch family {
	case familyTCP4:
		return ends(body, sizeTCP4, n)
	case familyTCP6:
		return ends(body, sizeTCP6, n)
	}
	return Header{}, n, nil
}

// ends reads the addresses of a body; all is their size with the ports.
func ends(body []byte, all, n int) (Header, int, error) {
	if len(body) < all {
		return Header{}, 0, ErrMalformed
	}
	size := all/2 - 2
	src, _ := netip.AddrFromSlice(body[:size])
	dst, _ := netip.AddrFromSlice(body[size : 2*size])
	ports := body[2*size:]
	return Header{
		Source:      netip.AddrPortFrom(src.Unmap(), binary.BigEndian.Uint16(ports)),
		Destination: netip.AddrPortFrom(dst.Unmap(), binary.BigEndian.Uint16(ports[2:])),
	}, n, nil
}
