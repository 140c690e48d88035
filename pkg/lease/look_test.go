package lease

import (
	"errors"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func TestLook(t *testing.T) {
	start := time.Unix(1000, 0)
	refusal := &tunnel.ConnError{Reason: tunnel.ReasonRefused, Retryable: true, Err: errors.New("no")}
	failed := func(retryAfter time.Duration) *Machine {
		m := NewMachine(Policy{Delay: func(int) time.Duration { return time.Minute }, SlowDelay: func(int) time.Duration { return time.Hour }})
		for _, e := range []Event{
			{Kind: EventGranted, Grant: Grant{Epoch: 1}},
			{Kind: EventDialed},
			{Kind: EventRefused, Err: refusal, RetryAfter: retryAfter},
		} {
			if _, err := m.Step(start, e); err != nil {
				t.Fatal(err)
			}
		}
		return m
	}
	for name, tc := range map[string]struct {
		retryAfter, delay time.Duration
		want              time.Duration
	}{
		"at once":                 {0, 0, 0},
		"staggered":               {0, 2 * time.Second, 2 * time.Second},
		"never later":             {0, 2 * time.Minute, time.Minute},
		"the edge asked for more": {20 * time.Second, 0, 20 * time.Second},
	} {
		m := failed(tc.retryAfter)
		m.Look(start, tc.delay)
		if got := m.Deadline().Sub(start); got != tc.want {
			t.Errorf("%s: next attempt after %v, want %v", name, got, tc.want)
		}
	}
	granted := failed(0)
	if _, err := granted.Step(start, Event{Kind: EventGranted, Grant: Grant{Epoch: 2, Wait: 3 * time.Second}, Retries: 9}); err != nil {
		t.Fatal(err)
	}
	granted.Look(start, 0)
	if got := granted.Deadline().Sub(start); got != 3*time.Second {
		t.Errorf("a grant with a wait: next attempt after %v, want 3s", got)
	}
	// A wait that no failure caused stays: an operator asked for it.
	m := NewMachine(Policy{})
	for _, e := range []Event{
		{Kind: EventGranted, Grant: Grant{Epoch: 1}}, {Kind: EventDialed}, {Kind: EventRegistered}, {Kind: EventReconnect, Delay: time.Minute},
	} {
		if _, err := m.Step(start, e); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.Look(start, 0); got != nil || m.Deadline().Sub(start) != time.Minute {
		t.Errorf("Look after a reconnect: %v, deadline %v", got, m.Deadline().Sub(start))
	}
	if got := NewMachine(Policy{}).Look(start, 0); got != nil {
		t.Errorf("Look without a grant: %v", got)
	}
}
