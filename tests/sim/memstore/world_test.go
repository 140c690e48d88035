package memstore_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/opstoken"
	"github.com/culvert-tunnel/culvert/pkg/quota"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// choices are decisions read from bytes, so that the fuzzer can change them one by one.
type choices struct {
	data []byte
	rest []byte
}

func choicesOf(seed uint64, length int) []byte {
	random := rand.New(rand.NewPCG(seed, 1))
	data := make([]byte, length)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	return data
}

// pick chooses one of n; 0 when there is nothing left.
func (c *choices) pick(n int) int {
	if len(c.rest) == 0 {
		return 0
	}
	v := int(c.rest[0]) % n
	c.rest = c.rest[1:]
	return v
}

func oneOf[T any](c *choices, list ...T) T { return list[c.pick(len(list))] }

// world makes requests of every kind by a few workers for a few tunnels, and remembers the epochs that were granted, so that
// most requests are about something that exists.
type world struct {
	choices
	epochs map[string][]tunnel.Epoch // by slots key and index
	// version is that of the last document that was changed.
	version uint64
	// exotic says that a number was written that miniredis does not read as a Redis does: its tonumber refuses exponents and integers
	// of more than 64 bits.
	exotic bool
	// shared says that several live slots may hold one address: something was written that no operation writes, or the clock was
	// set back, which makes an expired lease live again.
	shared bool
	// damaged says that the last command was not one of an operation.
	damaged bool
}

func newWorld(data []byte) *world {
	return &world{choices: choices{data, data}, epochs: map[string][]tunnel.Epoch{}}
}

func (w *world) more() bool { return len(w.rest) > 0 }

// step is the time until the next request. It may be negative: a server's clock may be set back.
func (w *world) step() time.Duration {
	step := oneOf(&w.choices, 0, 0, 0, time.Millisecond, 1234*time.Microsecond, 400*time.Millisecond, time.Second, 2*time.Second,
		2*time.Second, 5*time.Second, 9*time.Second, 16*time.Second, 61*time.Second, 11*time.Minute, -time.Second, -40*time.Second)
	w.shared = w.shared || step < 0
	return step
}

// next is the next command.
func (w *world) next() command.Command {
	w.damaged = false
	switch w.pick(12) {
	case 0, 1, 2:
		return w.grant()
	case 3, 4, 5:
		return w.renew()
	case 6:
		slot := w.slot()
		if w.pick(2) == 0 {
			return command.ReleaseUnder(w.term(), slot, w.worker(), w.epoch(slot)).Command
		}
		return command.Release(slot, w.worker(), w.epoch(slot)).Command
	case 7:
		return w.lead()
	case 8, 9:
		return w.registration()
	case 10:
		return w.reading()
	default:
		return w.rare()
	}
}

func (w *world) slot() tunnel.Slot {
	return tunnel.Slot{
		Tunnel: tunnel.ID{byte(w.pick(2) + 1)}, Connector: tunnel.ConnectorID{2}, Index: oneOf[tunnel.ConnIndex](&w.choices, 0, 0, 1, 2, 3, 200),
	}
}

func (w *world) worker() tunnel.WorkerID {
	return oneOf[tunnel.WorkerID](&w.choices, "w1", "w1", "w2", "w3")
}

func (w *world) edge() tunnel.EdgeAddr {
	n := w.pick(6)
	return tunnel.EdgeAddr{
		Region: tunnel.Region(fmt.Sprint("region", n%2+1)), Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 7844),
	}
}

func (w *world) ttl() time.Duration {
	return oneOf(&w.choices, lease.LeaseTTL, 4*time.Second, 8*time.Second, 20*time.Second)
}

func slotName(slot tunnel.Slot) string { return slot.Tunnel.String() + strconv.Itoa(int(slot.Index)) }

// epoch is mostly the newest one of the slot.
func (w *world) epoch(slot tunnel.Slot) tunnel.Epoch {
	known := w.epochs[slotName(slot)]
	if len(known) == 0 {
		return oneOf[tunnel.Epoch](&w.choices, 0, 0, 0, 1)
	}
	newest := known[len(known)-1]
	return oneOf(&w.choices, newest, newest, newest, newest, newest, newest-1, newest+1, known[0], 0)
}

// learn remembers the epoch of a grant, and the version of a document.
func (w *world) learn(c command.Command, reply any) {
	list, ok := reply.([]any)
	if ok && (c.Script == "set_desired" || c.Script == "put_rules") && len(list) >= 2 {
		text, _ := list[1].(string)
		w.version, _ = strconv.ParseUint(text, 10, 62)
	}
	if !ok || c.Script != "grant" || len(list) != 3 {
		return
	}
	text, _ := list[1].(string)
	if epoch, err := strconv.ParseUint(text, 10, 64); err == nil {
		id, _, _ := strings.Cut(strings.TrimPrefix(c.Keys[0], "cv:{"), "/")
		w.epochs[id+c.Args[0]] = append(w.epochs[id+c.Args[0]], tunnel.Epoch(epoch))
	}
}

func (w *world) grant() command.Command {
	slot := w.slot()
	r, err := command.GrantUnder(w.term(), lease.Grant{
		Slot: slot, Worker: w.worker(), Edge: w.edge(), Protocol: oneOf(&w.choices, "", tunnel.QUIC, tunnel.HTTP2),
		Wait:     oneOf(&w.choices, 0, 0, time.Second, time.Hour),
		Instance: oneOf(&w.choices, "", "a", "b"), Command: oneOf(&w.choices, "", "", "c1"),
	}, w.epoch(slot), w.ttl(), w.ended()...)
	return sent(r, err)
}

func (w *world) ended() []lease.Ended {
	var list []lease.Ended
	for range w.pick(3) {
		slot := w.slot()
		list = append(list, lease.Ended{Index: slot.Index, Epoch: w.epoch(slot)})
	}
	return list
}

func sent[T any](r command.Request[T], err error) command.Command {
	if err != nil {
		panic(err) // the world makes no request that is refused
	}
	return r.Command
}

func (w *world) status() lease.Status {
	s := lease.Status{
		State: oneOf(&w.choices, lease.StateConnected, lease.StateConnected, lease.StateConnecting, lease.StateFailed,
			lease.StateRefused, lease.StateDraining),
		Retries: oneOf(&w.choices, 0, 0, 1, 3, 30),
	}
	if w.pick(4) == 0 {
		s.Error = strings.Repeat("a long text with \"quotes\" and an ü ", 3)
	}
	return s
}

func (w *world) renew() command.Command {
	slot := w.slot()
	var reports []lease.Report
	for range w.pick(5) {
		slot.Index = oneOf[tunnel.ConnIndex](&w.choices, 0, 1, 2, 3, 200)
		r := lease.Report{Index: slot.Index, Epoch: w.epoch(slot), Status: w.status(), Away: oneOf(&w.choices, 0, 0, time.Minute)}
		if w.pick(4) > 0 {
			r.Edge, r.Protocol = w.edge(), tunnel.QUIC
		}
		reports = append(reports, r)
	}
	if w.pick(2) == 0 {
		return sent(command.Report(slot.Tunnel, slot.Connector, w.worker(), oneOf(&w.choices, "a", "b"), reports))
	}
	return sent(command.Renew(slot.Tunnel, slot.Connector, w.worker(), reports, w.ttl()))
}

func (w *world) lead() command.Command {
	role, holder := oneOf(&w.choices, "supervisor", "discovery"), oneOf(&w.choices, "h1", "h1", "h2")
	switch w.pick(11) {
	case 6, 7, 8, 9:
		return command.TakeShare(role, oneOf(&w.choices, "m1", "m1", "m2", "m3"), w.term(), w.ttl(), w.pick(2) == 0).Command
	case 10:
		return command.LeaveShare(role, oneOf(&w.choices, "m1", "m2")).Command
	case 4, 5:
		return command.TakeTerm(role, holder, w.term(), w.ttl()).Command
	case 0:
		return command.ResignLead(role, holder).Command
	case 1:
		return command.Leader(role).Command
	default:
		return command.TakeLead(role, holder, w.ttl()).Command
	}
}

// term is one that a leader may have.
func (w *world) term() lease.Term { return oneOf[lease.Term](&w.choices, 2, 2, 2, 2, 1, 0) }

func (w *world) registration() command.Command {
	id := fmt.Sprint("p", w.pick(20))
	switch w.pick(13) {
	case 9, 10:
		return w.lease()
	case 11:
		ids := []tunnel.ID{{byte(w.pick(2) + 1)}}
		if w.pick(2) == 0 {
			return command.Mark(ids).Command
		}
		return command.Notify(w.worker(), ids).Command
	case 12:
		return command.NewGeneration().Command
	case 0, 1:
		return sent(command.PutWorker(fleet.Worker{ID: tunnel.WorkerID(id), Host: "h", Capacity: w.pick(3)}, w.ttl()))
	case 2, 3, 4:
		return sent(command.PutProxy(fleet.Proxy{ID: tunnel.ProxyID(id), Draining: w.pick(2) == 0}, w.ttl()))
	case 5:
		return sent(command.PutTail(fleet.Tail{Session: id}, w.ttl()))
	case 6:
		return command.RemoveWorker(tunnel.WorkerID(id), oneOf(&w.choices, "a", "b")).Command
	case 7:
		return command.RemoveProxy(tunnel.ProxyID(id)).Command
	default:
		return command.RemoveTail(id).Command
	}
}

// lease is a renewal of the lease of a worker, by one of two processes.
func (w *world) lease() command.Command {
	return sent(command.RenewWorker(fleet.Renewal{
		Worker: fleet.Worker{ID: w.worker(), Instance: oneOf(&w.choices, "a", "a", "b"), Capacity: w.pick(3)}, Full: w.pick(2) == 0,
		Inbox: oneOf[uint64](&w.choices, 0, 0, 1, 1<<62), Number: uint64(w.pick(9) + 1), Confirmed: uint64(w.pick(4)),
	}, w.ttl()))
}

func (w *world) reading() command.Command {
	slot := w.slot()
	switch w.pick(7) {
	case 0, 1:
		if w.pick(2) == 0 {
			return command.SlotsUnder(w.term(), slot.Tunnel, slot.Connector).Command
		}
		return command.Slots(slot.Tunnel, slot.Connector).Command
	case 2:
		return command.Proved(slot.Tunnel, slot.Connector).Command
	case 3:
		if w.pick(2) == 0 {
			c := command.Fleet(oneOf[uint64](&w.choices, 0, 1, 1<<62)).Command
			c.Args[1] = oneOf(&w.choices, "0", "0", "1", "1795000000000", "4000000000000")
			return c
		}
		return command.Workers().Command
	case 4:
		return command.Proxies().Command
	case 5:
		return command.Tails().Command
	default:
		return command.Pool("default").Command
	}
}

func (w *world) rare() command.Command {
	slot := w.slot()
	switch w.pick(20) {
	case 18, 19:
		return w.operators()
	case 14, 15, 16, 17:
		return w.rules(slot.Tunnel)
	case 8, 9, 10:
		return w.desired(slot)
	case 11, 12, 13:
		return w.command(slot)
	case 0, 1:
		var p edgepool.Pool
		for n := range w.pick(2) + 1 {
			p.Regions = append(p.Regions, edgepool.RegionPool{Name: tunnel.Region(fmt.Sprint("r", n)), V4: []netip.AddrPort{w.edge().Addr}})
		}
		return sent(command.PublishPool("default", p))
	case 2:
		return command.OfferConnector(slot.Tunnel, tunnel.ConnectorID{byte(w.pick(3) + 1)}).Command
	case 3:
		return command.Connector(slot.Tunnel).Command
	case 4:
		return command.Publish("topic", []byte{byte(w.pick(256))}).Command
	default:
		return w.damage()
	}
}

// desired changes or reads what operators desire. Its versions are read, since only few would fit.
func (w *world) desired(slot tunnel.Slot) command.Command {
	version := oneOf(&w.choices, 0, 0, w.version, w.version, 1)
	spec := desired.Spec{Connections: w.pick(3), Paused: w.pick(2) == 0}
	switch w.pick(6) {
	case 0:
		return sent(command.RestoreDesired(slot.Tunnel, desired.Document{Spec: spec, Version: version + 1, PoolVersion: version}))
	case 1:
		return sent(command.SetDrained(w.worker(), version, w.pick(2) == 0, "ann"))
	case 2:
		return sent(command.RestoreDrained(w.worker(), desired.Mark{Drained: true, Version: version + 1}))
	case 3:
		return command.Desired(version).Command
	default:
		return sent(command.SetDesired(slot.Tunnel, version, spec, oneOf(&w.choices, "", "ann"), w.pick(2) == 0))
	}
}

// rules changes, reads or reports the configurations of a tunnel.
func (w *world) rules(id tunnel.ID) command.Command {
	number := oneOf(&w.choices, 0, 0, w.version, w.version, 1)
	switch w.pick(9) {
	case 8:
		head := rules.Head{Position: rules.Position{Push: int32(w.pick(2)) - 1}, Hash: fmt.Sprint("h", w.pick(3)), Source: rules.SourceFile}
		return sent(command.NoteRules(id, rules.Stored{Head: head, Sealed: oneOf(&w.choices, "", "s")}))
	case 0:
		return command.RuleHeads(number).Command
	case 4:
		a := quota.Ask{Process: fmt.Sprint("p", w.pick(3)), Seq: uint64(w.pick(40)), Limit: 20, Held: uint64(w.pick(9)), Used: 3}
		a.Want = uint64(w.pick(15))
		return command.Quota(id, a).Command
	case 5:
		if w.pick(3) == 0 {
			return command.LeaveQuota(id, fmt.Sprint("p", w.pick(3))).Command
		}
		return command.ResealRules(id, number, "s", "t").Command
	case 1:
		return oneOf(&w.choices, command.RuleHistory(id), command.Rules(id, number)).Command
	case 2, 3:
		return sent(command.ReportRules(id, rules.Result{
			Proxy: fmt.Sprint("p", w.pick(3)), InForce: rules.Position{Push: int32(w.pick(4)) - 1, Number: number},
		}))
	default:
		at := rules.Position{Push: int32(w.pick(4)) - 1, Number: oneOf(&w.choices, 0, number+1)}
		return sent(command.PutRules(id, number, rules.Stored{Head: rules.Head{Position: at, Author: oneOf(&w.choices, "", "ann")}, Sealed: "s"}))
	}
}

// operators changes the tokens of the ops API, or what is kept of its requests.
func (w *world) operators() command.Command {
	id, key := fmt.Sprint("t", w.pick(2)), fmt.Sprint("k", w.pick(2))
	switch w.pick(7) {
	case 0:
		return command.RemoveToken(id).Command
	case 1:
		return command.UseToken(id, time.UnixMilli(int64(w.pick(256)))).Command
	case 2:
		return command.Claim(key, "running", w.ttl()+time.Second).Command
	case 3:
		return command.Claimed(key).Command
	case 4:
		return command.Settle(key, "response", w.ttl()+time.Second).Command
	case 5:
		return command.Unclaim(key).Command
	default:
		return sent(command.PutToken(opstoken.Token{ID: id, Hash: "h"}))
	}
}

// command makes, answers or reads a command of an operator.
func (w *world) command(slot tunnel.Slot) command.Command {
	id := fmt.Sprint("c", w.pick(6))
	switch w.pick(5) {
	case 0:
		return command.Answer(id, desired.Result{Outcome: oneOf(&w.choices, desired.Done, desired.Refused), Detail: "some: text"}).Command
	case 1:
		return command.Result(id).Command
	case 2:
		return command.AskReconnect(w.term(), slot, w.epoch(slot), id).Command
	default:
		return sent(command.Submit(desired.Command{
			ID: id, Kind: oneOf(&w.choices, desired.Move, desired.Reconnect), Tunnel: slot.Tunnel, Index: slot.Index, Epoch: w.epoch(slot) + 1,
		}, oneOf(&w.choices, 2*time.Second, 10*time.Minute)))
	}
}

// damage writes what no operation writes: a lost key, or a record that cannot be read.
func (w *world) damage() command.Command {
	keys := sent(command.Renew(w.slot().Tunnel, w.slot().Connector, "w", nil, 0)).Keys
	registry := command.Workers().Keys
	leases := w.lease().Keys
	key := oneOf(&w.choices, keys[0], keys[0], keys[0], keys[1], registry[0], registry[1], leases[2], leases[3], leases[4],
		command.Fleet(0).Keys[2], command.Fleet(0).Keys[3],
		command.Leader("supervisor").Keys[0], command.Result("c1").Keys[0], command.Result("c1").Keys[1],
		command.Pool("default").Keys[0])
	value := oneOf(&w.choices, "", "x", "0", "-1", " 7", "1795000000000", "0x10", "1_0", "1e3", "99999999999999999999", "inf")
	w.shared, w.damaged = true, true
	w.exotic = w.exotic || slices.Contains([]string{"1e3", "99999999999999999999", "inf", "0x10"}, value)
	switch w.pick(4) {
	case 0:
		return command.Command{Args: []string{"del", key}}
	case 1:
		return command.Command{Args: []string{"set", key, value}}
	default:
		field := oneOf(&w.choices, "0:deadline", "0:epoch", "0:retries", "0:worker", "0:edge", "0:instance", "w1",
			"1:edge", "1:deadline", "x", "deadline", "version", "term", "view", "m:m2", "c1:deadline", "worker/w1:version", "c1:result")
		return command.Command{Args: []string{"hset", key, field, value}}
	}
}
