package lease_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// The holder of a slot is a state machine: events and the time go in, the actions for the worker come out.
func Example() {
	machine := lease.NewMachine(lease.Policy{
		Delay:      func(retries int) time.Duration { return time.Duration(retries) * time.Second },
		SlowDelay:  func(int) time.Duration { return time.Minute },
		ShortDelay: func(int) time.Duration { return time.Minute }, RefusedDelay: func(int) time.Duration { return time.Second },
		NewGrant: 3 * time.Second, Handover: 15 * time.Second, Grace: 30 * time.Second,
	})
	now := time.Unix(0, 0)
	edge := tunnel.EdgeAddr{Region: "region1", Addr: netip.MustParseAddrPort("192.0.2.1:7844")}
	for _, event := range []lease.Event{
		{Kind: lease.EventGranted, Grant: lease.Grant{Worker: "worker-1", Epoch: 7, Edge: edge, Protocol: tunnel.QUIC}},
		{Kind: lease.EventDialed},
		{Kind: lease.EventRegistered, Location: "zrh01"},
		{Kind: lease.EventDrain},
		{Kind: lease.EventDrained},
	} {
		actions, err := machine.Step(now, event)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%v -> %v:", event.Kind, machine.Phase())
		for _, action := range actions {
			fmt.Printf(" %T", action)
		}
		fmt.Println()
		now = now.Add(time.Second)
	}
	// Output:
	// granted -> dialing: lease.ReportStatus lease.Dial
	// dialed -> registering: lease.Register
	// registered -> connected: lease.StartServing lease.ReportStatus
	// drain -> draining: lease.ReportStatus lease.Unregister lease.CloseAfterDrain
	// drained -> ended: lease.Close lease.ReportStatus
}
