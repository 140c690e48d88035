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

// records decodes the reply of a script that returns all slots of a connector.
func records(op string, id tunnel.ID, connector tunnel.ConnectorID) func(reply any) ([]lease.Record, error) {
	return func(reply any) ([]lease.Record, error) {
		words, err := texts(op, reply)
		if err != nil {
			return nil, err
		}
		return decodeSlots(op, id, connector, words)
	}
}

// decodeSlots turns {now, field, value, ...} of a slots hash into records by index.
func decodeSlots(op string, id tunnel.ID, connector tunnel.ConnectorID, reply []string) ([]lease.Record, error) {
	if len(reply) == 0 || len(reply)%2 != 1 {
		return nil, badReply(op, reply)
	}
	now, err := strconv.ParseInt(reply[0], 10, 64)
	if err != nil {
		return nil, badReply(op, reply)
	}
	fields := map[tunnel.ConnIndex]map[string]string{}
	for i := 1; i < len(reply); i += 2 {
		index, name, found := strings.Cut(reply[i], ":")
		n, err := strconv.ParseUint(index, 10, 8)
		if !found || err != nil {
			return nil, fmt.Errorf("%s: unexpected field %q", op, reply[i])
		}
		if fields[tunnel.ConnIndex(n)] == nil {
			fields[tunnel.ConnIndex(n)] = map[string]string{}
		}
		fields[tunnel.ConnIndex(n)][name] = reply[i+1]
	}
	records := make([]lease.Record, 0, len(fields))
	for _, index := range slices.Sorted(maps.Keys(fields)) {
		r, err := decodeSlot(now, fields[index])
		if err != nil {
			return nil, fmt.Errorf("%s: stored slot %d: %w", op, index, err)
		}
		r.Slot = tunnel.Slot{Tunnel: id, Connector: connector, Index: index}
		records = append(records, r)
	}
	return records, nil
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
	r.Epoch = tunnel.Epoch(number("epoch"))
	r.Live = number("deadline") > now
	r.Age = time.Duration(now-number("renewed")) * time.Millisecond
	r.Wait = time.Duration(number("start")-now) * time.Millisecond
	retries := int(number("retries"))
	if err != nil {
		return r, err
	}
	if r.Edge.Addr, err = netip.ParseAddrPort(values["edge"]); err != nil {
		return r, fmt.Errorf("edge: %w", err)
	}
	r.Edge.Region = tunnel.Region(values["region"])
	r.Worker = tunnel.WorkerID(values["worker"])
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
