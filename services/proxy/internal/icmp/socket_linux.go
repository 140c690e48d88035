package icmp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	codec "github.com/culvert-tunnel/culvert/pkg/wire/icmp"
)

// rangeFile holds the groups whose processes may open ping sockets, of both families.
const rangeFile = "/proc/sys/net/ipv4/ping_group_range"

// pingSocket is an unprivileged ICMP socket. One goroutine may send and another receive.
type pingSocket struct {
	file *os.File
	raw  syscall.RawConn
	is6  bool
	ttl  uint8 // the last one set
	oob  []byte
}

func open(is6 bool) (socket, error) {
	family, protocol := unix.AF_INET, unix.IPPROTO_ICMP
	level, option := unix.IPPROTO_IP, unix.IP_RECVERR
	if is6 {
		family, protocol = unix.AF_INET6, unix.IPPROTO_ICMPV6
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("setsockopt", err)
	}
	s := &pingSocket{file: os.NewFile(uintptr(fd), "ping"), is6: is6, oob: make([]byte, 256)}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// remedy is the command that lets this process open ping sockets, or nothing when that is not what it lacks.
func remedy(err error) string {
	if !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
		return ""
	}
	b, _ := os.ReadFile(rangeFile) // without it, the range is taken as empty
	return "sysctl -w " + widen(string(b), os.Getegid())
}

// widen gives the setting in which the range that text holds contains a group as well.
func widen(text string, group int) string {
	low, high := group, group
	var l, h int
	if _, err := fmt.Sscan(strings.TrimSpace(text), &l, &h); err == nil && l <= h {
		low, high = min(l, group), max(h, group)
	}
	return fmt.Sprintf("net.ipv4.ping_group_range=%q", fmt.Sprintf("%d %d", low, high))
}

func (s *pingSocket) close() { _ = s.file.Close() }

func (s *pingSocket) send(message []byte, to netip.Addr, ttl uint8) error {
	var serr error
	err := s.raw.Control(func(fd uintptr) {
		if serr = s.setTTL(int(fd), ttl); serr != nil {
			return
		}
		var sa unix.Sockaddr = &unix.SockaddrInet6{Addr: to.As16()}
		if !s.is6 {
			sa = &unix.SockaddrInet4{Addr: to.As4()}
		}
		// The system reports an error of an earlier request once, here or to the receiver, which reads its details
		// from the error queue anyway.
		for range 2 {
			if serr = unix.Sendto(int(fd), message, unix.MSG_DONTWAIT, sa); !isTold(serr) {
				break
			}
		}
		serr = os.NewSyscallError("sendto", serr)
	})
	return errors.Join(err, serr)
}

// isTold reports whether an error may belong to an earlier request.
func isTold(err error) bool {
	return errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENETUNREACH) ||
		errors.Is(err, unix.EHOSTDOWN) || errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.EPROTO)
}

func (s *pingSocket) setTTL(fd int, ttl uint8) error {
	if ttl == s.ttl {
		return nil
	}
	level, option := unix.IPPROTO_IP, unix.IP_TTL
	if s.is6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS
	}
	if err := unix.SetsockoptInt(fd, level, option, int(ttl)); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	s.ttl = ttl
	return nil
}

// maxErrors is how many errors in a row a socket may report before it counts as broken.
const maxErrors = 16

func (s *pingSocket) receive(buf []byte) (a response, err error) {
	var rerr error
	err = s.raw.Read(func(fd uintptr) bool {
		for range maxErrors {
			if a, rerr = s.readFault(int(fd), buf); !errors.Is(rerr, unix.EAGAIN) {
				return true
			}
			if a, rerr = s.readReply(int(fd), buf); rerr == nil {
				return true
			} else if errors.Is(rerr, unix.EAGAIN) {
				return false
			}
			// The error of the socket only means that the error queue is not empty.
		}
		return true
	})
	if err != nil {
		return response{}, err
	}
	return a, rerr
}

func (s *pingSocket) readReply(fd int, buf []byte) (response, error) {
	n, from, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
	if err != nil {
		return response{}, err
	}
	return response{from: addrOf(from), message: buf[:n]}, nil
}

// readFault reads the error queue: the head of a request, and the ICMP error that it caused.
func (s *pingSocket) readFault(fd int, buf []byte) (response, error) {
	n, oobn, _, _, err := unix.Recvmsg(fd, buf, s.oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != nil {
		return response{}, err
	}
	messages, err := unix.ParseSocketControlMessage(s.oob[:oobn])
	if err != nil {
		return response{}, errSkip
	}
	for _, m := range messages {
		is4 := m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR
		is6 := m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		if !is4 && !is6 {
			continue
		}
		if fault, from, ok := parseExtended(m.Data); ok {
			return response{from: from, message: buf[:n], fault: fault, isFault: true}, nil
		}
	}
	return response{}, errSkip
}

// extendedSize is the size of struct sock_extended_err; the address of the error's sender follows it.
const extendedSize = 16

// parseExtended parses an entry of the error queue; ok is false unless it is an ICMP error of another host.
func parseExtended(b []byte) (f codec.Fault, from netip.Addr, ok bool) {
	if len(b) < extendedSize {
		return f, from, false
	}
	origin := b[4]
	f = codec.Fault{Type: b[5], Code: b[6], Info: binary.NativeEndian.Uint32(b[8:])}
	addr := b[extendedSize:]
	switch {
	case origin == unix.SO_EE_ORIGIN_ICMP && len(addr) >= unix.SizeofSockaddrInet4:
		if f.Type != codec.Unreachable4 || f.Code != codec.CodeFragmentationNeeded {
			f.Info = 0
		}
		return f, netip.AddrFrom4([4]byte(addr[4:8])), f.Type == codec.TimeExceeded4 || f.Type == codec.Unreachable4
	case origin == unix.SO_EE_ORIGIN_ICMP6 && len(addr) >= unix.SizeofSockaddrInet6:
		if f.Type != codec.TooBig6 {
			f.Info = 0
		}
		return f, netip.AddrFrom16([16]byte(addr[8:24])), f.Type <= codec.TimeExceeded6 && f.Type != 0
	default:
		return f, from, false
	}
}

func addrOf(sa unix.Sockaddr) netip.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(sa.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(sa.Addr)
	default:
		return netip.Addr{}
	}
}
