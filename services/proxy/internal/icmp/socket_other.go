//go:build !linux

package icmp

import "errors"

var errNoSockets = errors.New("ping sockets are used on Linux alone")

func open(bool) (socket, error) { return nil, errNoSockets }

func remedy(error) string { return "" }
