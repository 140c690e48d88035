package sim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/shard"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// attempt is a registration that a worker sends.
func (k *checker) attempt(s *Session, r Registration) {
	now := k.c.engine.Now()
	t, i := k.state(r.Slot)
	if t == nil || i == nil {
		return
	}
	b := t.buckets[r.Slot.Connector]
	if b == nil {
		b = &bucket{burst: connectorBurst, rate: 1}
		t.buckets[r.Slot.Connector] = b
	}
	if !b.take(now) {
		k.violate(ConnectorBudget, name(r.Slot), "at most one registration per second with a burst of 2; %s sent one more", s.env.Instance())
	}
	if !k.deployment.take(now) {
		k.violate(DeploymentBudget, name(r.Slot), "at most %d registrations per second", deploymentRate)
	}
	if r.Slot.Index > 0 && !t.registered[r.Slot.Connector] {
		k.violate(GateFirst, name(r.Slot), "index 0 of connector %s registers first; %s registered index %d", r.Slot.Connector,
			s.env.Instance(), r.Slot.Index)
	}
}

// registered is a registration that an edge accepted.
func (k *checker) registered(s *Session) {
	k.dirty = true
	t, i := k.state(s.slot)
	if t == nil || i == nil {
		return
	}
	k.c.engine.Note(s.env.Instance(), fmt.Sprintf("registered %s epoch %d at %s", name(s.slot), s.epoch, s.at.addr))
	t.registered[s.slot.Connector] = true
	for _, o := range k.c.sessionsOf(s.slot.Tunnel, s.slot.Index) {
		if o != s && o.slot == s.slot && o.epoch == s.epoch && o.env != s.env && o.serving() {
			k.violate(OneHolder, name(s.slot), "epoch %d has one holder; %s and %s are both registered", s.epoch, o.env.Instance(), s.env.Instance())
		}
	}
	for _, e := range k.c.edges {
		for _, o := range e.sessions {
			if o.slot.Tunnel == s.slot.Tunnel && o.slot.Connector != s.slot.Connector && o.serving() && k.healthy(o.env) {
				k.violate(OneConnector, name(s.slot), "connector id %s, under which %s is served by %s", o.slot.Connector, name(o.slot),
					o.env.Instance())
			}
		}
	}
}

// postponed is a refusal after which the slot may wait for so long.
func (k *checker) postponed(s *Session, wait time.Duration) {
	if _, i := k.state(s.slot); i != nil {
		i.postponed = k.c.engine.Now().Add(wait)
	}
}

// leaving is a registered session that its worker ends by itself.
func (k *checker) leaving(s *Session, how string) {
	k.dirty = true
	if !s.registered() || s.over || s.cause != nil || !s.silentAt.IsZero() {
		return
	}
	t, i := k.state(s.slot)
	if t == nil || i == nil {
		return
	}
	now := k.c.engine.Now()
	k.c.engine.Note(s.env.Instance(), how+" "+name(s.slot))
	others := slices.ContainsFunc(k.c.sessionsOf(s.slot.Tunnel, s.slot.Index), func(o *Session) bool { return o != s && o.serving() })
	if others || k.c.changedLately(s.slot) || s.env.stopping && i.place.lasted(now) < placeTime {
		return
	}
	k.violate(LastSession, name(s.slot), "another session of the index before %s ends the last one (%s)", s.env.Instance(), how)
}

// healthy reports whether a process can do its work: it runs, and has had no trouble with the store for a while.
func (k *checker) healthy(e *Env) bool {
	now := k.c.engine.Now()
	return e.up() && !e.stopping && !k.c.disturbed(e) && (e.troubled.IsZero() || now.Sub(e.troubled) > settledTime)
}

// executed is a command that the store executed.
func (k *checker) executed(e *Env, cmd command.Command, reply any, planned *Planned) {
	switch cmd.Name() {
	case "grant":
		k.checkCommand(cmd, reply)
		k.granted(e, cmd, reply, planned)
	case "take_lead":
		k.led(cmd, reply)
	case "take_share":
		k.shared(reply)
	case "publish_pool":
		var p edgepool.Pool
		if list, ok := reply.([]any); ok && len(list) == 2 && list[0] == "ok" && json.Unmarshal([]byte(cmd.Args[0]), &p) == nil {
			k.published = p
			k.dirty = true
		}
	}
}

// led follows who has which lead at the store.
func (k *checker) led(cmd command.Command, reply any) {
	list, ok := reply.([]any)
	if !ok || len(list) == 0 || list[0] != "1" || len(cmd.Keys) != 1 {
		return
	}
	role, holder := cmd.Keys[0], cmd.Args[0]
	if role == supervisorLead {
		k.divided([]string{holder})
		return
	}
	k.leads(role, holder)
}

// leads follows who has a lead.
func (k *checker) leads(role, holder string) {
	if k.leaders[role].holder == holder {
		return
	}
	k.c.engine.Note(holder, "leads "+role)
	k.leaders[role] = lead{holder: holder, since: k.c.engine.Now()}
	k.count(FlapLead, Fact{Text: "leads " + role, Subject: holder})
}

// supervisorLead is the key of the lead that supervisors share.
const supervisorLead = "cv:lead:supervisor"

// shared follows which supervisors share the lead at the store.
func (k *checker) shared(reply any) {
	const head = 6 // words before the members
	list, ok := reply.([]any)
	if !ok || len(list) <= head {
		return
	}
	members := make([]string, 0, len(list)-head)
	for _, word := range list[head:] {
		name, _ := word.(string)
		members = append(members, name)
	}
	k.divided(members)
}

// divided follows which supervisor is in charge of each tunnel.
func (k *checker) divided(members []string) {
	owners := shard.Owners(members)
	for _, t := range k.c.spec.Tunnels {
		k.leads(shortName(t), owners[shard.Of(t)])
	}
}

// slotOf reads the slot of a grant.
func (k *checker) slotOf(cmd command.Command) (tunnel.Slot, bool) {
	if len(cmd.Keys) == 0 || len(cmd.Args) < 2 {
		return tunnel.Slot{}, false
	}
	_, rest, _ := strings.Cut(cmd.Keys[0], "{")
	tag, _, _ := strings.Cut(rest, "}")
	id, connector, _ := strings.Cut(tag, "/")
	index, err := strconv.Atoi(cmd.Args[0])
	if err != nil {
		return tunnel.Slot{}, false
	}
	s := tunnel.Slot{Index: tunnel.ConnIndex(index)}
	if s.Tunnel, err = tunnel.ParseID(id); err != nil {
		return s, false
	}
	s.Connector, err = tunnel.ParseConnectorID(connector)
	return s, err == nil
}

// granted is a grant that the store made.
func (k *checker) granted(e *Env, cmd command.Command, reply any, planned *Planned) {
	list, ok := reply.([]any)
	slot, read := k.slotOf(cmd)
	if !ok || !read || len(list) != 3 || list[0] != "ok" {
		return
	}
	text, _ := list[1].(string)
	n, err := strconv.ParseUint(text, 10, 64)
	_, i := k.state(slot)
	if err != nil || i == nil {
		return
	}
	epoch, worker := tunnel.Epoch(n), tunnel.WorkerID(cmd.Args[1])
	cause := ""
	if planned != nil && planned.Slot == slot {
		cause = planned.Cause
	}
	k.c.engine.Note(e.Instance(), fmt.Sprintf("granted %s to %s epoch %d at %s cause %s", name(slot), worker, epoch, cmd.Args[2], cause))
	if i.grants[slot] == nil {
		i.grants[slot] = map[tunnel.Epoch]tunnel.WorkerID{}
	}
	if before, found := i.grants[slot][epoch]; found && before != worker {
		k.violate(OneGrant, name(slot), "epoch %d belongs to %s; it was granted to %s, too", epoch, before, worker)
	}
	i.grants[slot][epoch] = worker
	if i.highest == nil {
		i.highest = map[tunnel.Slot]tunnel.Epoch{}
	}
	if epoch <= i.highest[slot] {
		k.violate(EpochsGrow, name(slot), "an epoch above %d, which was granted before; it is %d", i.highest[slot], epoch)
	}
	i.highest[slot] = max(i.highest[slot], epoch)
	k.checkReplaced(slot, i, string(worker)+" at "+cmd.Args[2], cause)
	i.holder, i.epoch = worker, epoch
	k.count(FlapGrant, Fact{Text: "slot granted", Subject: name(slot) + " to " + string(worker)})
	k.checkLeader(e, slot)
}

// checkLeader checks that the supervisor that granted is in charge of the tunnel.
func (k *checker) checkLeader(e *Env, slot tunnel.Slot) {
	l, found := k.leaders[shortName(slot.Tunnel)]
	if led := k.c.engine.Now().Sub(l.since); found && l.holder != e.id && l.holder != e.Instance() && led > leaderSlack {
		k.violate(LeaderGrants, name(slot), "%s leads since %v; %s granted", l.holder, led, e.Instance())
	}
}

// checkReplaced checks that a grant without an operator's reason does not replace a session that a healthy worker holds.
func (k *checker) checkReplaced(slot tunnel.Slot, i *indexState, to, cause string) {
	if cause != "free" && cause != "gone" && cause != "expired" {
		return
	}
	for _, s := range k.c.sessionsOf(slot.Tunnel, slot.Index) {
		mine := s.env.id == string(i.holder) && s.epoch == i.epoch
		if mine && s.serving() && k.healthy(s.env) && to != s.env.id+" at "+s.at.addr.String() {
			k.violate(HealthyStays, name(slot), "%s keeps its session at %s; the slot went to %s, cause %s", s.env.Instance(), s.at.addr, to, cause)
		}
	}
}

// fact is something that a process told. What happens to single connections may be told as often as it happens, and grants are
// counted where the store makes them.
func (k *checker) fact(e *Env, f Fact) {
	if strings.HasPrefix(f.Text, "connection ") || strings.HasPrefix(f.Text, "slot ") {
		return
	}
	k.count(Flap, Fact{Text: f.Text, Subject: strings.TrimSpace(f.Subject + " by " + e.id)})
}

// count checks how often a fact was told lately.
func (k *checker) count(i Invariant, f Fact) {
	now := k.c.engine.Now()
	times := slices.DeleteFunc(k.facts[f], func(t time.Time) bool { return now.Sub(t) > flapTime })
	times = append(times, now)
	k.facts[f] = times
	if len(times) > flapCount {
		k.violate(i, f.Subject, "%q at most %d times within %v", f.Text, flapCount, flapTime)
	}
}

// defect is a program that cannot go on as it should.
func (k *checker) defect(e *Env, err error) {
	k.violate(NoDefect, e.Instance(), "no defect: %v", err)
}
