package command_test

import (
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/opstoken"
	"github.com/culvert-tunnel/culvert/pkg/quota"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// FuzzDecode gives damaged replies to every decoder: each returns an error that names the operation or a value, never both, and
// never panics. The seeds are a good reply of every operation and a few bad ones.
func FuzzDecode(f *testing.F) {
	const slots = "*\n$1700000000000\n$0:epoch\n$5\n$0:deadline\n$1800000000000\n$0:edge\n$192.0.2.1:7844\n$0:status\n" +
		`${"state":"connected"}`
	for i, op := range operations(f) {
		f.Add(uint8(i), "_")
		f.Add(uint8(i), ":1")
		f.Add(uint8(i), "$ok")
		f.Add(uint8(i), "*")
		f.Add(uint8(i), "*\n$ok\n$1700000000000\n$0")
		f.Add(uint8(i), "*\n$worse\n$17")
		f.Add(uint8(i), "*\n$17\n$"+`{"version":1,"regions":[]}`)
		f.Add(uint8(i), "*\n$"+`{"worker_id":"b"}`+"\n$"+`{"worker_id":"a"}`)
		f.Add(uint8(i), slots)
		f.Add(uint8(i), "*\n$1700000000000\n$300:epoch\n$5")
		f.Add(uint8(i), slots+"\n$1:epoch\n$x\n$2:epoch\n$-4\n$3:edge\n$nowhere\n$4:status\n${\n$claimed\n$2\n$odd\n$1")
		f.Add(uint8(i), "*\n$1\n$0:edge\n$192.0.2.1:7844\n$1:edge\n$[2001:db8::1]:1\n$1:retries\n$3")
		f.Add(uint8(i), "$6ba7b810-9dad-11d1-80b4-00c04fd430c8")
		f.Add(uint8(i), "*\n$ok\n$kept\n$17\n$18\n$6ba7b810-9dad-11d1-80b4-00c04fd430c8\n$odd")
		f.Add(uint8(i), "*\n$ok\n$new\n$17\n$x")
		f.Add(uint8(i), "*\n$taken\n$17\n$"+`{"worker_id":"b","pid":7}`)
		f.Add(uint8(i), "*\n$unknown")
		f.Add(uint8(i), "*\n$same\n$17")
		f.Add(uint8(i), "*\n$all\n$17\n$worker/w\n$5\n$0\n$1700000000000\n"+`${"drained":true}`+"\n$")
		f.Add(uint8(i), "*\n$all\n$17\n$tunnel/x\n$5\n$0\n$1\n${}\n${\n$command/c\n$x\n$0\n$1\n${}\n$")
		f.Add(uint8(i), "*\n$pending\n$\n$900\n$"+orderText)
		f.Add(uint8(i), "*\n$17\n$2\n$6ba7b810-9dad-11d1-80b4-00c04fd430c8\n$odd\n$"+`{"worker_id":"b"}`+"\n${")
		f.Add(uint8(i), "*\n$x\n$0")
		f.Add(uint8(i), "*\n$1\n$9\n$7\n$1500\n$800\n$3\n$h/1\n$h/2")
		f.Add(uint8(i), "$term 9")
		f.Add(uint8(i), op.name)
	}
	all := operations(f)
	f.Fuzz(func(t *testing.T, which uint8, text string) {
		op := all[int(which)%len(all)]
		reply := parseReply(text)
		value, err := op.decode(reply)
		if err != nil {
			if !reflect.ValueOf(value).IsZero() && !strings.HasPrefix(op.name, "list ") { // which comes with what could be read
				t.Errorf("%s of %v: %+v and the error %v", op.name, reply, value, err)
			}
			if !strings.HasPrefix(err.Error(), op.name) {
				t.Errorf("%s of %v: the error %q does not name it", op.name, reply, err)
			}
			return
		}
		if table, ok := value.(lease.Table); ok {
			checkTable(t, reply, table)
		}
		// Decoding depends on the reply alone.
		again, err := op.decode(reply)
		if err != nil || !reflect.DeepEqual(again, value) {
			t.Errorf("%s of %v: first %+v, then %+v, %v", op.name, reply, value, again, err)
		}
	})
}

// checkTable: every field of the reply is of one record or of one damaged slot, and both lists are in order.
func checkTable(t *testing.T, reply any, table lease.Table) {
	t.Helper()
	indices, others := map[tunnel.ConnIndex]bool{}, map[string]bool{}
	words := reply.([]any)
	for i := 1; i < len(words); i += 2 {
		field := words[i].(string)
		index, _, found := strings.Cut(field, ":")
		if n, err := strconv.ParseUint(index, 10, 8); found && err == nil {
			indices[tunnel.ConnIndex(n)] = true
		} else if field != "claimed" {
			others[field] = true
		}
	}
	for i, r := range table.Records {
		if i > 0 && table.Records[i-1].Slot.Index >= r.Slot.Index {
			t.Errorf("records out of order: %v", table.Records)
		}
		if !indices[r.Slot.Index] {
			t.Errorf("slot %d is there twice, or not stored", r.Slot.Index)
		}
		delete(indices, r.Slot.Index)
	}
	for _, d := range table.Damaged {
		if d.Reason == "" || d.Field == "" && !indices[d.Index] || d.Field != "" && !others[d.Field] {
			t.Errorf("damage %+v of %v", d, reply)
		}
		delete(indices, d.Index)
	}
	if len(indices) > 0 {
		t.Errorf("slots %v of %v are neither records nor damaged", indices, reply)
	}
}

// parseReply makes a reply of a text with one value on each line: "_" is nil, ":" begins a number, "*" a list of all lines that
// follow, and everything else is a string, with or without "$".
func parseReply(text string) any {
	lines := strings.Split(text, "\n")
	if lines[0] != "*" {
		return parseValue(text)
	}
	list := []any{}
	for _, line := range lines[1:] {
		list = append(list, parseValue(line))
	}
	return list
}

func parseValue(text string) any {
	if text == "_" {
		return nil
	}
	if number, ok := strings.CutPrefix(text, ":"); ok {
		if n, err := strconv.ParseInt(number, 10, 64); err == nil {
			return n
		}
	}
	return strings.TrimPrefix(text, "$")
}

// operation is a request without its type.
type operation struct {
	name    string
	command command.Command
	decode  func(reply any) (any, error)
}

func erase[T any](r command.Request[T], err error) operation {
	if err != nil {
		return operation{name: err.Error()}
	}
	return operation{r.Op, r.Command, func(reply any) (any, error) { return r.Decode(reply) }}
}

// operations are requests of every kind.
func operations(tb testing.TB) []operation {
	tb.Helper()
	grant := lease.Grant{Slot: slot(3), Worker: "w", Edge: edge(), Protocol: tunnel.QUIC, Wait: time.Second}
	report := lease.Report{
		Index: 3, Epoch: 7, Edge: edge(), Protocol: tunnel.QUIC, Away: time.Minute, Status: lease.Status{State: lease.StateConnected, Retries: 2},
	}
	s := slot(3)
	all := []operation{
		erase(command.PublishPool("default", pool())),
		erase(command.Pool("default"), nil),
		erase(command.TakeLead("supervisor", "h", time.Second), nil),
		erase(command.TakeTerm("supervisor", "h", 5, time.Second), nil),
		erase(command.ResignLead("supervisor", "h"), nil),
		erase(command.Leader("supervisor"), nil),
		erase(command.TakeShare("supervisor", "h/1", 5, time.Second, true), nil),
		erase(command.TakeShare("supervisor", "h/1", 0, time.Second, false), nil),
		erase(command.LeaveShare("supervisor", "h/1"), nil),
		erase(command.PutWorker(worker(), time.Second)),
		erase(command.RenewWorker(fleet.Renewal{Worker: leased(), Full: true, Number: 2, Confirmed: 1}, time.Second)),
		erase(command.Notify("w", []tunnel.ID{s.Tunnel}), nil),
		erase(command.NewGeneration(), nil),
		erase(command.RemoveWorker("w", "a"), nil),
		erase(command.Workers(), nil),
		erase(command.Fleet(17), nil),
		erase(command.Mark([]tunnel.ID{s.Tunnel}), nil),
		erase(command.MarkDesired(), nil),
		erase(command.PutProxy(proxy(), time.Second)),
		erase(command.RemoveProxy("p"), nil),
		erase(command.Proxies(), nil),
		erase(command.PutTail(tail(), time.Second)),
		erase(command.RemoveTail("s"), nil),
		erase(command.Tails(), nil),
		erase(command.OfferConnector(s.Tunnel, s.Connector), nil),
		erase(command.Connector(s.Tunnel), nil),
		erase(command.Slots(s.Tunnel, s.Connector), nil),
		erase(command.SlotsUnder(5, s.Tunnel, s.Connector), nil),
		erase(command.GrantUnder(5, grant, 6, time.Second, lease.Ended{Index: 1, Epoch: 4})),
		erase(command.Renew(s.Tunnel, s.Connector, "w", []lease.Report{report}, time.Second)),
		erase(command.Report(s.Tunnel, s.Connector, "w", "a", []lease.Report{report})),
		erase(command.Release(s, "w", 7), nil),
		erase(command.ReleaseUnder(5, s, "w", 7), nil),
		erase(command.Proved(s.Tunnel, s.Connector), nil),
		erase(command.Desired(17), nil),
		erase(command.SetDesired(s.Tunnel, 17, desired.Spec{Connections: 2}, "ann", true)),
		erase(command.RestoreDesired(s.Tunnel, desired.Document{Version: 18, PoolVersion: 17, Spec: desired.Spec{Paused: true}})),
		erase(command.SetDrained("w", 0, true, "ann")),
		erase(command.RestoreDrained("w", desired.Mark{Drained: true, Version: 19})),
		erase(command.Submit(order(), time.Second)),
		erase(command.Answer("c1", desired.Result{Outcome: desired.Done, Detail: "epoch 9"}), nil),
		erase(command.Result("c1"), nil),
		erase(command.AskReconnect(5, s, 7, "c1"), nil),
		erase(command.RuleHeads(17), nil),
		erase(command.Rules(s.Tunnel, 7), nil),
		erase(command.RuleHistory(s.Tunnel), nil),
		erase(command.PutRules(s.Tunnel, 7, rules.Stored{
			Head: rules.Head{Position: rules.Position{Push: 3, Number: 8}, Author: "ann", Hash: "ab", RestoredFrom: 5}, Sealed: "s",
		})),
		erase(command.ResealRules(s.Tunnel, 8, "s", "t"), nil),
		erase(command.ReportRules(s.Tunnel, rules.Result{Proxy: "p", InForce: rules.Position{Push: 3, Number: 7}})),
		erase(command.NoteRules(s.Tunnel, rules.Stored{
			Head: rules.Head{Position: rules.Position{Push: 3}, Author: "edge", Hash: "ab", Source: rules.SourcePush}, Sealed: "s",
		})),
		erase(command.Tokens(), nil),
		erase(command.PutToken(opstoken.Token{ID: "t"})),
		erase(command.RemoveToken("t"), nil),
		erase(command.UseToken("t", time.UnixMilli(17)), nil),
		erase(command.Append(command.Audit, "{}", 5), nil),
		erase(command.After(command.Events, "17-0", 5), nil),
		erase(command.Before(command.Events, "", 5), nil),
		erase(command.Claim("k", "running", time.Second), nil),
		erase(command.Claimed("k"), nil),
		erase(command.Settle("k", "done", time.Second), nil),
		erase(command.Unclaim("k"), nil),
		erase(command.Quota(s.Tunnel, quota.Ask{Process: "p/1", Seq: 9, Limit: 100, Held: 20, Used: 15, Want: 19}), nil),
		erase(command.LeaveQuota(s.Tunnel, "p/1"), nil),
		erase(command.Publish("topic", []byte("m")), nil),
	}
	for _, op := range all {
		if op.decode == nil {
			tb.Fatalf("request: %s", op.name)
		}
	}
	return all
}
