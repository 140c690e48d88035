package admit

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// ErrDuplicate says that the slot is registered on the same edge address already.
var ErrDuplicate = errors.New("duplicate connection")

// Attempt decides whether a session may try to register: once with success, and MaxAttempts times in all. The number counts this attempt.
func Attempt(registered bool, number int) Result {
	switch {
	case registered:
		return Repeated
	case number > MaxAttempts:
		return Exhausted
	default:
		return Accepted
	}
}

// Check decides what a registration says about itself: whether its credentials are valid, and whether its options are well formed.
func Check(valid, wellFormed bool) Result {
	switch {
	case !valid:
		return Unauthorized
	case !wellFormed:
		return Malformed
	default:
		return Accepted
	}
}

// Session is a session as the rule of a slot sees it. Epoch is zero for a connector that sends none.
type Session struct {
	Epoch tunnel.Epoch
	// Local is the edge address that the session came in on, Remote the address of the connector.
	Local, Remote netip.AddrPort
}

// Slot decides whether a session may register for the slot of connection index, where others are registered and alive. It returns the
// positions of those that it replaces. It fails with ErrDuplicate while another one is on the same edge address, and with tunnel.ErrFenced
// while another one has a newer epoch. On the same edge address the new session replaces one from the same remote address or with an older
// epoch; a session on another edge address stays until it unregisters.
func Slot(index tunnel.ConnIndex, session Session, others []Session) (replaced []int, err error) {
	for i, o := range others {
		switch {
		case session.Epoch != 0 && o.Epoch > session.Epoch:
			return nil, fmt.Errorf("connection index %d has epoch %d: %w", index, o.Epoch, tunnel.ErrFenced)
		case o.Local != session.Local:
		case o.Remote == session.Remote || session.Epoch > o.Epoch:
			replaced = append(replaced, i)
		default:
			return nil, ErrDuplicate
		}
	}
	return replaced, nil
}
