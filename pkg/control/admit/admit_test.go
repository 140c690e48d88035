package admit_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/admit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func session(epoch tunnel.Epoch, local, remote string) admit.Session {
	return admit.Session{Epoch: epoch, Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote)}
}

func TestSlot(t *testing.T) {
	const here, there, peer, other = "10.0.0.1:7844", "10.0.0.2:7844", "10.9.9.9:1", "10.9.9.9:2"
	list := func(s ...admit.Session) []admit.Session { return s }
	for _, c := range []struct {
		name   string
		new    admit.Session
		others []admit.Session
		want   []int
		err    error
	}{
		{name: "free", new: session(0, here, peer)},
		{name: "stock on the same edge address", new: session(0, here, peer), others: list(session(0, here, other)), err: admit.ErrDuplicate},
		{name: "stock from the same remote address", new: session(0, here, peer), others: list(session(0, here, peer)), want: []int{0}},
		{name: "stock on another edge address", new: session(0, there, peer), others: list(session(0, here, other))},
		{name: "stock beside an epoch", new: session(0, there, peer), others: list(session(9, here, other))},
		{name: "stock on the address of an epoch", new: session(0, here, peer), others: list(session(9, here, other)), err: admit.ErrDuplicate},
		{name: "first epoch", new: session(1, here, peer), others: list(session(0, here, other)), want: []int{0}},
		{name: "higher epoch", new: session(5, here, peer), others: list(session(4, here, other)), want: []int{0}},
		{name: "same epoch", new: session(5, here, peer), others: list(session(5, here, other)), err: admit.ErrDuplicate},
		{name: "same epoch from the same remote address", new: session(5, here, peer), others: list(session(5, here, peer)), want: []int{0}},
		{name: "same epoch elsewhere", new: session(5, there, peer), others: list(session(5, here, other))},
		{name: "lower epoch", new: session(4, here, peer), others: list(session(5, here, other)), err: tunnel.ErrFenced},
		{name: "lower epoch, same remote address", new: session(4, here, peer), others: list(session(5, here, peer)), err: tunnel.ErrFenced},
		{name: "lower epoch elsewhere", new: session(4, there, peer), others: list(session(5, here, other)), err: tunnel.ErrFenced},
		{
			name: "only those of the same edge address are replaced", new: session(7, here, peer),
			others: list(session(4, there, other), session(5, here, other), session(6, here, peer)), want: []int{1, 2},
		},
		{
			name: "nothing is replaced by a session that is refused", new: session(5, here, peer),
			others: list(session(4, here, other), session(6, there, other)), err: tunnel.ErrFenced,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := admit.Slot(3, c.new, c.others)
			if !slices.Equal(got, c.want) || !errors.Is(err, c.err) {
				t.Errorf("Slot(%+v, %+v) = %v, %v; want %v, %v", c.new, c.others, got, err, c.want, c.err)
			}
		})
	}
}

func TestAttemptAndCheck(t *testing.T) {
	for _, c := range []struct{ got, want admit.Result }{
		{admit.Attempt(false, 1), admit.Accepted},
		{admit.Attempt(false, admit.MaxAttempts), admit.Accepted},
		{admit.Attempt(false, admit.MaxAttempts+1), admit.Exhausted},
		{admit.Attempt(true, 1), admit.Repeated},
		{admit.Attempt(true, admit.MaxAttempts+1), admit.Repeated},
		{admit.Check(true, true), admit.Accepted},
		{admit.Check(false, true), admit.Unauthorized},
		{admit.Check(false, false), admit.Unauthorized},
		{admit.Check(true, false), admit.Malformed},
		{admit.ResultOf(nil), admit.Accepted},
		{admit.ResultOf(admit.ErrDuplicate), admit.Duplicate},
		{admit.ResultOf(tunnel.ErrFenced), admit.Fenced},
		{admit.ResultOf(errors.New("other")), admit.Malformed},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}

func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		result    admit.Result
		reason    tunnel.Reason
		retryable bool
		after     time.Duration
		text      string
	}{
		{admit.Unauthorized, tunnel.ReasonRefused, false, 0, "refused: Unauthorized: Invalid tunnel secret or unknown tunnel"},
		{admit.Malformed, tunnel.ReasonRefused, false, 0, "refused: malformed connection options"},
		{admit.Limited, tunnel.ReasonRefused, true, 30 * time.Second, "refused: too many sessions"},
		{admit.Duplicate, tunnel.ReasonDuplicate, false, 0, "duplicate: duplicate connection"},
		{admit.Fenced, tunnel.ReasonRefused, true, 5 * time.Second, "refused: fenced: a newer epoch exists"},
		{admit.Repeated, tunnel.ReasonRefused, false, 0, "refused: this session is registered already"},
		{admit.Exhausted, tunnel.ReasonRefused, false, 0, "refused: too many attempts on one session"},
		{admit.Result("new"), tunnel.ReasonRefused, false, 0, "refused: refused"},
	} {
		var got *tunnel.ConnError
		if !errors.As(c.result.Refusal(nil), &got) || got.Reason != c.reason || got.Retryable != c.retryable || got.RetryAfter != c.after ||
			got.Error() != c.text {
			t.Errorf("%s: Refusal(nil) = %+v, want %+v", c.result, got, c)
		}
		cause := errors.New("cause")
		if err := c.result.Refusal(cause); !errors.Is(err, cause) {
			t.Errorf("%s: Refusal(cause) = %v, want one that wraps the cause", c.result, err)
		}
	}
	if err := admit.Accepted.Refusal(nil); err != nil {
		t.Errorf("Refusal of an accepted registration = %v", err)
	}
}
