package command_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// TestDecodeDesired: documents, marks and commands come apart, and one that cannot be read hides no other.
func TestDecodeDesired(t *testing.T) {
	got, err := command.Desired(0).Decode([]any{
		"all", "1700000009000",
		"tunnel/" + tunnelText, "7", "6", "1700000005000", `{"connections":2,"author":"ann","later":1}`, `{"paused":true}`,
		"tunnel/odd", "7", "0", "1", "{}", "",
		"tunnel/03000000-0000-0000-0000-000000000000", "x", "0", "1", "{}", "",
		"worker/w:1", "9", "0", "1700000006000", `{"drained":true}`, "",
		"worker/w2", "9", "0", "1", "", "",
		"command/c1", "1500", "0", "1", orderText, "",
		"command/c2", "1500", "0", "1", orderText, "",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := command.Read{State: desired.State{
		Version: 1700000009000,
		Tunnels: map[tunnel.ID]desired.Document{{1}: {
			Spec: desired.Spec{Connections: 2}, Version: 7, PoolVersion: 6, Author: "ann", Changed: time.UnixMilli(1700000005000).UTC(),
			Former: &desired.Spec{Paused: true},
		}},
		Workers:  map[tunnel.WorkerID]desired.Mark{"w:1": {Drained: true, Version: 9, Changed: time.UnixMilli(1700000006000).UTC()}},
		Commands: []desired.Status{{Command: order(), Result: desired.Result{Outcome: desired.Pending}, Remaining: 1500 * time.Millisecond}},
		Damaged: []string{
			`tunnel/odd: tunnel id: "odd" is not a UUID`,
			`tunnel/03000000-0000-0000-0000-000000000000: "x" is no number`,
			"worker/w2: stored desired state: unexpected end of JSON input",
			`command/c2: stored command: it has the id "c1"`,
		},
	}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestCommandsOfASlot: an id counts under the epoch that it was written with.
func TestCommandsOfASlot(t *testing.T) {
	s := slot(0)
	got, err := command.Slots(s.Tunnel, s.Connector).Decode([]any{
		"1000", "0:epoch", "7", "0:edge", "192.0.2.1:7844", "0:command", "7/c1", "0:reconnect", "7/c2",
		"1:epoch", "8", "1:edge", "192.0.2.2:7844", "1:command", "7/c1", "1:reconnect", "c2",
	})
	if err != nil || len(got.Records) != 2 {
		t.Fatalf("got %+v, %v, want two records", got, err)
	}
	if r := got.Records[0]; r.Command != "c1" || r.Reconnect != "c2" {
		t.Errorf("slot 0: %q, %q, want c1, c2", r.Command, r.Reconnect)
	}
	if r := got.Records[1]; r.Command != "" || r.Reconnect != "" {
		t.Errorf("slot 1: %q, %q, want none", r.Command, r.Reconnect)
	}
}
