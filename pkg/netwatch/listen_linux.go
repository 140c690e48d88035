package netwatch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// buffer has room for the messages of one read. More of them wait in the socket, and an overflow is a change as well.
const buffer = 64 << 10

// listen calls changed for each message of the kernel that says that an address or a route of this host came or went, until ctx ends.
func listen(ctx context.Context, changed func()) error {
	socket, err := open()
	if err != nil {
		return err
	}
	return read(ctx, socket, changed)
}

// open makes a socket that gets the messages. It belongs to the network namespace of the calling thread.
func open() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	groups := unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: uint32(groups)}); err != nil {
		return nil, errors.Join(fmt.Errorf("netlink groups: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "netlink"), nil // not blocking: the runtime's poller waits, and Close ends a read
}

// read handles messages until ctx ends, and closes the socket.
func read(ctx context.Context, socket *os.File, changed func()) error {
	stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
	defer func() {
		stop()
		_ = socket.Close() // nothing is lost with it
	}()
	b := make([]byte, buffer)
	for {
		n, err := socket.Read(b)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			changed()
		case err != nil:
			return fmt.Errorf("netlink: %w", err)
		case concerns(b[:n]):
			changed()
		}
	}
}

// concerns reports whether one of the messages says that an address that others can use, or a route that is not one of the kernel's own
// caches, came or went. What cannot be understood concerns nobody.
func concerns(b []byte) bool {
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return false
		}
		body := b[unix.SizeofNlMsghdr:size]
		switch binary.NativeEndian.Uint16(b[4:]) {
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			// struct ifaddrmsg: family, prefix length, flags, scope, index.
			if len(body) >= unix.SizeofIfAddrmsg && body[3] == unix.RT_SCOPE_UNIVERSE {
				return true
			}
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			// struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags.
			if len(body) >= unix.SizeofRtMsg && body[4] == unix.RT_TABLE_MAIN && body[6] == unix.RT_SCOPE_UNIVERSE &&
				body[7] == unix.RTN_UNICAST && binary.NativeEndian.Uint32(body[8:])&unix.RTM_F_CLONED == 0 {
				return true
			}
		}
		next := (size + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1)
		b = b[min(next, len(b)):]
	}
	return false
}
