package command

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// fieldClaimed is the word before the number of claims in the reply of a renewal.
const fieldClaimed = "claimed"

// table decodes the reply of a script that returns all slots of a connector.
func table(op string, id tunnel.ID, connector tunnel.ConnectorID) func(reply any) (lease.Table, error) {
	return func(reply any) (lease.Table, error) {
		words, err := texts(op, reply)
		if err != nil {
			return lease.Table{}, err
		}
		return decodeSlots(op, id, connector, words)
	}
}

// decodeSlots turns {now, field, value, ...} of a slots hash into records by index. A slot that cannot be read hides no other one.
func decodeSlots(op string, id tunnel.ID, connector tunnel.ConnectorID, reply []string) (lease.Table, error) {
	if len(reply) == 0 || len(reply)%2 != 1 {
		return lease.Table{}, badReply(op, reply)
	}
	now, err := strconv.ParseInt(reply[0], 10, 64)
	if err != nil {
		return lease.Table{}, badReply(op, reply)
	}
	var t lease.Table
	fields := map[tunnel.ConnIndex]map[string]string{}
	for i := 1; i < len(reply); i += 2 {
		index, name, found := strings.Cut(reply[i], ":")
		n, err := strconv.ParseUint(index, 10, 8)
		switch {
		case reply[i] == fieldClaimed:
			t.Claimed, _ = strconv.Atoi(reply[i+1]) // a number that cannot be read is none
			continue
		case !found || err != nil:
			t.Damaged = append(t.Damaged, lease.Damaged{Field: reply[i], Reason: "it is of no slot"})
			continue
		}
		if fields[tunnel.ConnIndex(n)] == nil {
			fields[tunnel.ConnIndex(n)] = map[string]string{}
		}
		fields[tunnel.ConnIndex(n)][name] = reply[i+1]
	}
	slices.SortFunc(t.Damaged, func(a, b lease.Damaged) int { return strings.Compare(a.Field, b.Field) })
	for _, index := range slices.Sorted(maps.Keys(fields)) {
		r, err := decodeSlot(now, fields[index])
		if err != nil {
			t.Damaged = append(t.Damaged, lease.Damaged{Index: index, Epoch: r.Epoch, Reason: err.Error()})
			continue
		}
		r.Slot = tunnel.Slot{Tunnel: id, Connector: connector, Index: index}
		t.Records = append(t.Records, r)
	}
	return t, nil
}

func decodeSlot(now int64, values map[string]string) (lease.Record, error) {
	var r lease.Record
	var err error
	number := func(name string) int64 {
		text, found := values[name]
		if !found || err != nil {
			return 0
		}
		var n int64
		if n, err = strconv.ParseInt(text, 10, 64); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return n
	}
	epoch := number("epoch")
	if err == nil && epoch < 0 {
		err = fmt.Errorf("epoch: %d", epoch)
	}
	if err != nil {
		return r, err
	}
	r.Epoch = tunnel.Epoch(epoch)
	r.Live = number("deadline") > now
	r.Age = time.Duration(now-number("renewed")) * time.Millisecond
	r.Wait = time.Duration(max(number("start"), number("hold"))-now) * time.Millisecond
	// A grant that never became a connection is a failure, wherever its holder ended.
	retries := int(max(number("retries"), number("starts")-1))
	if err != nil {
		return r, err
	}
	if r.Edge.Addr, err = netip.ParseAddrPort(values["edge"]); err != nil {
		return r, fmt.Errorf("edge: %w", err)
	}
	r.Edge.Region = tunnel.Region(values["region"])
	r.Worker = tunnel.WorkerID(values["worker"])
	// A version that knows no instances leaves that of a former epoch.
	if of, instance, found := strings.Cut(values["instance"], "/"); found && of == values["epoch"] {
		r.Instance = instance
	}
	r.Command, r.Reconnect = commandOf(values, "command"), commandOf(values, "reconnect")
	_, granted := values["starts"]
	r.Claimed = !granted
	r.Former = tunnel.WorkerID(values["former"])
	r.Protocol = tunnel.Protocol(values["protocol"])
	if status := values["status"]; status != "" {
		if err := json.Unmarshal([]byte(status), &r.Status); err != nil {
			return r, fmt.Errorf("status: %w", err)
		}
	}
	// Retries outlive a grant, so that a new holder does not start from zero (docs/spec/lifecycle.md 14.4).
	if r.Status.State != lease.StateConnected {
		r.Status.Retries = max(r.Status.Retries, retries)
	}
	return r, nil
}
