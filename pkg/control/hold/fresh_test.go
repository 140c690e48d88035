package hold_test

import (
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/control/hold"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// what lists the kinds of actions that matter to the order of a look into the store.
func what(actions []hold.Action) string {
	text := ""
	for _, a := range actions {
		switch a := a.(type) {
		case hold.Dial:
			text += "dial "
		case hold.Register:
			text += "register "
		case hold.Serve:
			text += "serve "
		case hold.Upload:
			text += "upload "
		case hold.Close:
			text += "close "
		case hold.Wake:
			text += "wake " + a.After.String() + " "
		case hold.Note, hold.Report, hold.Unregister, hold.Drain, hold.Announce:
		}
	}
	return text
}

// TestLooksFirst: after a pause that was longer than a lease nothing is dialled, registered or uploaded before the worker has looked
// into the store, and what it sees there counts.
func TestLooksFirst(t *testing.T) {
	h := &host{}
	m := hold.NewMachine(tunnel.Slot{}, h, policy())
	want := func(e hold.Event, want string) {
		t.Helper()
		actions, err := m.Step(start, e)
		if err != nil || what(actions) != want {
			t.Errorf("%T: %q, %v, want %q", e, what(actions), err, want)
		}
	}
	grant := hold.Sent{Event: lease.Event{Kind: lease.EventGranted, Grant: lease.Grant{Epoch: 5}}}
	want(grant, "dial ")
	h.stale = true
	want(hold.Dialed{Attempt: m.Attempt()}, "wake 250ms ")
	want(hold.Timer{}, "wake 250ms ")
	h.stale = false
	want(hold.Timer{}, "register ")
	h.stale = true
	want(hold.Registered{Attempt: m.Attempt()}, "serve wake 250ms ")
	want(hold.Timer{}, "wake 250ms ")
	h.stale = false
	want(hold.Timer{}, "upload ")
	want(hold.Timer{}, "")

	// A newer epoch that the look shows ends the attempt.
	m = hold.NewMachine(tunnel.Slot{}, h, policy())
	want(grant, "dial ")
	h.stale = true
	want(hold.Dialed{Attempt: m.Attempt()}, "wake 250ms ")
	want(hold.Sent{Event: lease.Event{Kind: lease.EventNewer, Newer: lease.Record{Grant: lease.Grant{Epoch: 6}}}}, "close ")
	h.stale = false
	if want(hold.Timer{}, ""); !m.Ended() {
		t.Error("the holder goes on")
	}
}

// TestRenamed: attempts to come have the new connector id.
func TestRenamed(t *testing.T) {
	m := hold.NewMachine(tunnel.Slot{Index: 2, Connector: tunnel.ConnectorID{1}}, &host{}, policy())
	if actions, err := m.Step(start, hold.Renamed{Connector: tunnel.ConnectorID{8}}); err != nil || len(actions) > 0 {
		t.Errorf("renamed: %v, %v", actions, err)
	}
	if got := m.Slot(); got != (tunnel.Slot{Index: 2, Connector: tunnel.ConnectorID{8}}) {
		t.Errorf("slot %v", got)
	}
}
