package command_test

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	tunnelText    = "01000000-0000-0000-0000-000000000000"
	connectorText = "02000000-0000-0000-0000-000000000000"
	tag           = "cv:{" + tunnelText + "/" + connectorText + "}"
)

func slot(index tunnel.ConnIndex) tunnel.Slot {
	return tunnel.Slot{Tunnel: tunnel.ID{1}, Connector: tunnel.ConnectorID{2}, Index: index}
}

func edge() tunnel.EdgeAddr {
	return tunnel.EdgeAddr{Region: "r1", Addr: netip.MustParseAddrPort("192.0.2.1:7844")}
}

func pool() edgepool.Pool {
	return edgepool.Pool{Version: 9, Source: edgepool.SourceStatic, Regions: []edgepool.RegionPool{
		{Name: "r1", V4: []netip.AddrPort{edge().Addr}},
		{Name: "r2", V4: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.2:7844")}},
	}}
}

func worker() fleet.Worker { return fleet.Worker{ID: "w", Host: "h"} }

func leased() fleet.Worker { return fleet.Worker{ID: "w", Instance: "a", Host: "h"} }

const orderText = `{"id":"c1","kind":"move","tunnel_id":"` + tunnelText + `","conn_index":3,"epoch":7,"worker_id":"w2"}`

func order() desired.Command {
	return desired.Command{ID: "c1", Kind: desired.Move, Tunnel: tunnel.ID{1}, Index: 3, Epoch: 7, Worker: "w2"}
}

func proxy() fleet.Proxy { return fleet.Proxy{ID: "p", Host: "h"} }

func tail() fleet.Tail { return fleet.Tail{Session: "s"} }

// Each operation sends exactly these words: processes of several versions share a store.
func TestCommands(t *testing.T) {
	const (
		emptyPool = `{"version":0,"source":"static","fetched_at":"0001-01-01T00:00:00Z","regions":[` +
			`{"name":"r1","v4":["192.0.2.1:7844"]},{"name":"r2","v4":["192.0.2.2:7844"]}]}`
		workerText = `{"worker_id":"w","host":"h","version":"","capacity":0,"tunnels":null}`
		leasedText = `{"worker_id":"w","host":"h","version":"","instance":"a","capacity":0,"tunnels":null}`
		leaseKeys  = "cv:{worker}:records cv:{worker}:deadlines cv:{worker}:instances cv:{worker}:generation " +
			"cv:{worker}:inbox:w cv:{worker}:revisions"
		desiredKeys = "cv:{desired}:documents cv:{desired}:commands"
		proxyText   = `{"proxy_id":"p","host":"h","version":"","endpoint":""}`
	)
	want := []string{
		"publish pool|publish_pool|cv:pool:default|" + emptyPool + "|1",
		"read pool||cv:pool:default|hmget|cv:pool:default|version|body",
		"take lead|take_lead|cv:lead:supervisor|h|1000|0",
		"take lead|take_lead|cv:lead:supervisor|h|1000|5",
		"resign lead|resign_lead|cv:lead:supervisor|h",
		"read leader|leader|cv:lead:supervisor",
		"take share|take_share|cv:lead:supervisor|h/1|1000|5|1|(together)",
		"take share|take_share|cv:lead:supervisor|h/1|1000|0|0|(together)",
		"leave share|leave_share|cv:lead:supervisor|h/1|(together)",
		"register worker|put|cv:{worker}:records cv:{worker}:deadlines cv:{worker}:revisions|w|1000|" + workerText,
		"renew worker|renew_worker|" + leaseKeys + "|w|1000|a|0|" + leasedText + "|1|2|",
		"notify worker|notify|cv:{worker}:inbox:w|600000|" + tunnelText,
		"begin generation|new_generation|cv:{worker}:generation",
		"remove worker|remove|cv:{worker}:records cv:{worker}:deadlines cv:{worker}:instances cv:{worker}:inbox:w cv:{worker}:revisions|w|a",
		"list worker|list|cv:{worker}:records cv:{worker}:deadlines",
		"list fleet|fleet|cv:{worker}:records cv:{worker}:deadlines cv:{worker}:marks cv:{worker}:revisions cv:{worker}:instances|17|0",
		"mark tunnels|notify|cv:{worker}:marks|600000|" + tunnelText,
		"mark desired state|notify|cv:{worker}:marks|600000|desired",
		"register proxy|put|cv:{proxy}:records cv:{proxy}:deadlines|p|1000|" + proxyText,
		"remove proxy|remove|cv:{proxy}:records cv:{proxy}:deadlines|p",
		"list proxy|list|cv:{proxy}:records cv:{proxy}:deadlines",
		"register tail|put|cv:{tail}:records cv:{tail}:deadlines|s|1000|TAIL",
		"remove tail|remove|cv:{tail}:records cv:{tail}:deadlines|s",
		"list tail|list|cv:{tail}:records cv:{tail}:deadlines",
		"ensure connector|offer_connector|cv:connector:" + tunnelText + "|" + connectorText,
		"ensure connector|connector|cv:connector:" + tunnelText,
		"read slots|slots|" + tag + ":slots",
		"read slots|slots|" + tag + ":slots " + tag + ":fence|5",
		"grant slot 3|grant|" + tag + ":slots " + tag + ":bucket " + tag +
			`:fence|3|w|192.0.2.1:7844|r1|quic|6|1000|1000|{"state":"granted"}|1000|2|30000|5|||0|1|4`,
		"renew leases|renew|" + tag + ":slots " + tag +
			`:proved|w|1000|600000||3|7|1|2|{"state":"connected","retries":2}|192.0.2.1:7844|r1|quic|60000`,
		"renew leases|renew|" + tag + ":slots " + tag +
			`:proved|w|315360000000|600000|a|3|7|1|2|{"state":"connected","retries":2}|192.0.2.1:7844|r1|quic|60000`,
		"release slot 3|release|" + tag + ":slots|3|w|7",
		"release slot 3|release|" + tag + ":slots " + tag + ":fence|3|w|7|5",
		"read proof|proved|" + tag + ":proved",
		"read desired state|desired|" + desiredKeys + "|17",
		"set desired state|set_desired|cv:{desired}:documents|tunnel/" + tunnelText + `|17|{"connections":2,"author":"ann"}|1|0|0`,
		"set desired state|set_desired|cv:{desired}:documents|tunnel/" + tunnelText + `|0|{"paused":true}|0|18|17`,
		`set desired state|set_desired|cv:{desired}:documents|worker/w|0|{"drained":true,"author":"ann"}|0|0|0`,
		`set desired state|set_desired|cv:{desired}:documents|worker/w|0|{"drained":true}|0|19|0`,
		"submit command|submit_command|" + desiredKeys + "|c1|" + orderText + "|1000|600000|" + tunnelText + "|1024|64",
		"answer command|answer_command|" + desiredKeys + "|c1|done|epoch 9",
		"read command|answer_command|" + desiredKeys + "|c1||",
		"reconnect slot 3|reconnect|" + tag + ":slots " + tag + ":fence|3|7|c1|5",
		"read newest configurations|rule_heads|cv:{rules}:heads|17",
		"read configurations|rules|cv:{rules}:history:" + tunnelText + "|7",
		"read configurations|rules|cv:{rules}:history:" + tunnelText + "|",
		"set configuration|put_rules|cv:{rules}:heads cv:{rules}:history:" + tunnelText + "|" + tunnelText +
			`|7|{"author":"ann","hash":"ab","restored_from":5}|8|3|s|50`,
		"seal configuration anew|reseal_rules|cv:{rules}:history:" + tunnelText + "|8|s|t",
		"report configuration|report_rules|cv:{rules}:history:" + tunnelText +
			`|p|3|7|{"proxy_id":"","in_force":{"push":3,"version":7}}|256`,
		"note configuration|note_rules|cv:{rules}:history:" + tunnelText + `|push/3/ab|3|{"author":"edge","hash":"ab","source":"push"}|s|30`,
		"read tokens||cv:{ops}:tokens|hvals|cv:{ops}:tokens",
		`write token||cv:{ops}:tokens|hset|cv:{ops}:tokens|t|{"id":"t","name":"","scope":"","hash":"","created_at":"0001-01-01T00:00:00Z"}`,
		"remove token||cv:{ops}:tokens|hdel|cv:{ops}:tokens|t|t:used",
		"note use of token||cv:{ops}:tokens|hset|cv:{ops}:tokens|t:used|t 17",
		"append to audit||cv:{ops}:audit|xadd|cv:{ops}:audit|maxlen|=|5|*|body|{}",
		"read events||cv:{ops}:events|xrange|cv:{ops}:events|(17-0|+|count|5",
		"read events||cv:{ops}:events|xrevrange|cv:{ops}:events|+|-|count|5",
		"claim request||cv:{ops}:once:k|set|cv:{ops}:once:k|running|px|1000|nx",
		"read request||cv:{ops}:once:k|get|cv:{ops}:once:k",
		"note response||cv:{ops}:once:k|set|cv:{ops}:once:k|done|px|1000",
		"forget request||cv:{ops}:once:k|del|cv:{ops}:once:k",
		"renew share of a limit|quota|cv:{quota/" + tunnelText + "}:flows|p/1|9|100|20|15|19|3000|12000|24000",
		"give back share of a limit|leave_quota|cv:{quota/" + tunnelText + "}:flows|p/1",
		"hint|||publish|cv:hint:topic|m",
	}
	var got []string
	for _, op := range operations(t) {
		c := op.command
		if c.Script == "put" && strings.Contains(c.Keys[0], "tail") {
			c.Args[2] = "TAIL" // its text is the business of package fleet
		}
		words := append([]string{op.name, c.Script, strings.Join(c.Keys, " ")}, c.Args...)
		got = append(got, strings.Join(words, "|"))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
}

// Every script file has a name, and every script is used by an operation.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("scripts/*.lua")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".lua"))
	}
	if diff := cmp.Diff(names, command.Scripts()); diff != "" {
		t.Errorf("scripts (-files +Scripts):\n%s", diff)
	}
	used := map[string]bool{}
	for _, op := range operations(t) {
		if name := op.command.Name(); name == "" {
			t.Errorf("%s has no name", op.name)
		}
		used[op.command.Script] = true
	}
	for _, name := range command.Scripts() {
		if !strings.Contains(command.Source(name), "-- Returns ") {
			t.Errorf("script %s does not say what it returns", name)
		}
		if !used[name] {
			t.Errorf("no operation uses script %s", name)
		}
	}
	if got := command.Source("none"); got != "" {
		t.Errorf("Source of no script: %q", got)
	}
}

func TestDecode(t *testing.T) {
	list := func(words ...string) any {
		out := make([]any, len(words))
		for i, w := range words {
			out[i] = w
		}
		return out
	}
	for i, c := range []struct {
		op    string
		reply any
		want  string // the value as text
		err   error
	}{
		{"publish pool", list("ok", "17"), "17", nil},
		{"publish pool", list("worse", "17"), "", tunnel.ErrConflict},
		{"publish pool", list("ok", "x"), "", errOther},
		{"read pool", []any{nil, nil}, "", tunnel.ErrNotFound},
		{"read pool", []any{"x", "{}"}, "", errOther},
		{"read pool", []any{"5", `{"source":"srv"}`}, "{5 srv 0001-01-01 00:00:00 +0000 UTC []  }", nil},
		{"take lead", list("1", "9", "7", "1500", "800"), "{true 9 7 1.5s 800ms}", nil},
		{"take lead", list("0", "9", "9", "1500", "0"), "{false 9 9 1.5s 0s}", nil},
		{"take lead", list("1", "9", "x", "1500", "0"), "", errOther},
		{"take lead", list("1", "9", "7"), "", errOther},
		{"take lead", int64(1), "", errOther},
		{"take share", list("1", "9", "7", "1500", "800", "3", "a", "b"), "{{true 9 7 1.5s 800ms} {[a b] 3 true}}", nil},
		{"take share", list("1", "9", "9", "1500", "1800", "3", "a"), "{{true 9 9 1.5s 1.8s} {[a] 3 false}}", nil},
		{"take share", list("0", "9", "9", "1500", "0", "3"), "{{false 9 9 1.5s 0s} {[] 3 false}}", nil},
		{"take share", list("1", "9", "7", "1500", "800", "x", "a"), "", errOther},
		{"take share", list("1", "9", "7", "1500", "800"), "", errOther},
		{"leave share", int64(1), "{}", nil},
		{"resign lead", int64(0), "{}", nil},
		{"read leader", "", "", nil},
		{"read leader", "h", "h", nil},
		{"read leader", nil, "", tunnel.ErrNotFound},
		{"register worker", int64(1), "{}", nil},
		{
			"list worker", list(`{"worker_id":"b"}`, `{"worker_id":"a"}`),
			"[{a    0 0001-01-01 00:00:00 +0000 UTC {  0 0} 0 0 []  false false} " +
				"{b    0 0001-01-01 00:00:00 +0000 UTC {  0 0} 0 0 []  false false}]", nil,
		},
		{"list worker", list("{"), "", errOther},
		{
			"list fleet", list("18", "2", tunnelText, "odd", "7", "b", `{"worker_id":"b"}`),
			"{[{b    0 0001-01-01 00:00:00 +0000 UTC {  0 0} 0 0 []  false false}] 18 [" + tunnelText + "] false}", nil,
		},
		{"list fleet", list("18", "1", "desired", "7"), "{[] 18 [] true}", nil},
		{"list fleet", list("x", "0", "x"), "{[] 0 [] false}", nil},
		{"list fleet", list("18", "0", "7", "b", "{"), "", errOther},
		{"list fleet", list("18", "1"), "", errOther},
		{"list fleet", list("18", "0", "7", "b"), "", errOther},
		{"list fleet", list("18", "0", "7", "b", ""), "", errOther},
		{"list fleet", list("18", "x"), "", errOther},
		{"list fleet", list("18"), "", errOther},
		{"list fleet", nil, "", tunnel.ErrNotFound},
		{"list proxy", list(), "[]", nil},
		{"renew worker", list("ok", "kept", "17", "18", tunnelText, "odd"), "{<nil> false false false 17 18 [" + tunnelText + "]}", nil},
		{"renew worker", list("ok", "lapsed", "17", "x"), "{<nil> false false true 17 0 []}", nil},
		{"renew worker", list("ok", "new", "17", "18"), "{<nil> false true false 17 18 []}", nil},
		{"renew worker", list("unknown"), "{<nil> true false false 0 0 []}", nil},
		{"renew worker", list("ok", "odd", "17", "18"), "", errOther},
		{"renew worker", list("ok", "kept", "x", "18"), "", errOther},
		{"renew worker", list("taken", "x", "{}"), "", errOther},
		{"renew worker", list("ok"), "", errOther},
		{"notify worker", "17", "{}", nil},
		{"begin generation", "17", "{}", nil},
		{"ensure connector", connectorText, connectorText, nil},
		{"ensure connector", "x", "", errOther},
		{"ensure connector", nil, "", tunnel.ErrNotFound},
		{"grant slot 3", list("ok", "8", "250"), "epoch 8, wait 250ms", nil},
		{"grant slot 3", list("epoch", "7"), "", tunnel.ErrConflict},
		{"grant slot 3", list("address", "1"), "", tunnel.ErrConflict},
		{"grant slot 3", list("term", "8"), "", tunnel.ErrFenced},
		{"grant slot 3", list("term", "x"), "", errOther},
		{"grant slot 3", list("ok", "8"), "", errOther},
		{"read slots", list("term", "8"), "", tunnel.ErrFenced},
		{"read slots", list("1000"), "{[] [] 0}", nil},
		{"read slots", list(), "", errOther},
		{"read slots", list("x"), "", errOther},
		{"read slots", list("1000", "0:edge"), "", errOther},
		{
			"read slots", list("1000", "0:edge", "nowhere", "claimed", "2"),
			`{[] [slot 0: edge: not an ip:port] 2}`, nil,
		},
		{"release slot 3", "ok", "{}", nil},
		{"release slot 3", "fenced", "", tunnel.ErrFenced},
		{"release slot 3", "absent", "", tunnel.ErrNotFound},
		{"release slot 3", "what", "", errOther},
		{"read proof", int64(1), "true", nil},
		{"read desired state", list("same", "17"), "{true {17 map[] map[] [] []}}", nil},
		{"read desired state", list("same", "17", "x"), "", errOther},
		{"read desired state", list("odd", "17"), "", errOther},
		{"set desired state", list("ok", "18"), "18", nil},
		{"set desired state", list("version", "19"), "", tunnel.ErrConflict},
		{"set desired state", list("odd", "19"), "", errOther},
		{"set desired state", list("ok"), "", errOther},
		{"read newest configurations", list("same", "17"), "{true 17 map[]}", nil},
		{"read newest configurations", list("all", "17", "x", "1", tunnelText, "9"), "{false 17 map[" + tunnelText + ":9]}", nil},
		{"read newest configurations", list("all", "17", "x"), "", errOther},
		{"read newest configurations", list("odd", "17"), "", errOther},
		{"read configurations", list("x"), "", errOther},
		{"read configurations", list("1", "version"), "", errOther},
		{
			"read configurations", list("1", "version", "x", "1", "1", "{}", "", "version", "1", "x", "1", "{}", "",
				"version", "1", "1", "x", "{}", "", "version", "1", "1", "1", "", "", "result", "p", "", "1", "", ""),
			`{1 [] [] [] [version x: "x" is no number version 1: "x" is no version of a push version 1: "x" is no time ` +
				`version 1: unexpected end of JSON input result p: unexpected end of JSON input]}`, nil,
		},
		{"set configuration", list("ok", "18"), "{true {3 18}}", nil},
		{"set configuration", list("next", "19", "4"), "{false {4 19}}", nil},
		{"set configuration", list("next", "0", "4"), "", errOther},
		{"renew share of a limit", list("7", "2", "1", "1700000000000"), "{{7 2 true} 472222h13m20s}", nil},
		{"renew share of a limit", list("7", "0", "1", "17"), "", errOther},
		{"renew share of a limit", list("7", "1", "2", "17"), "", errOther},
		{"renew share of a limit", list("7", "1", "x", "17"), "", errOther},
		{"renew share of a limit", list(), "", errOther},
		{"seal configuration anew", "changed", "", tunnel.ErrConflict},
		{"seal configuration anew", "odd", "", errOther},
		{"set configuration", list("version", "19"), "", tunnel.ErrConflict},
		{"submit command", list("other"), "", tunnel.ErrConflict},
		{"submit command", list("full", "1024"), "", tunnel.ErrUnavailable},
		{"submit command", list("pending", "", "x", orderText), "", errOther},
		{"submit command", list("pending", "", "9", "{}"), "", errOther},
		{"answer command", list("absent"), "", tunnel.ErrNotFound},
		{"read command", list("absent"), "", tunnel.ErrNotFound},
		{"read command", list("done"), "", errOther},
		{"reconnect slot 3", "ok", "{}", nil},
		{"reconnect slot 3", "fenced", "", tunnel.ErrFenced},
		{"reconnect slot 3", "absent", "", tunnel.ErrNotFound},
		{"reconnect slot 3", "term 9", "", tunnel.ErrFenced},
		{"reconnect slot 3", "term x", "", errOther},
		{"hint", int64(0), "{}", nil},
	} {
		ops := slices.DeleteFunc(operations(t), func(o operation) bool { return o.name != c.op })
		value, err := ops[len(ops)-1].decode(c.reply) // of the two of a connector the one that reads
		if c.err != nil {
			if err == nil || !errors.Is(c.err, errOther) && !errors.Is(err, c.err) {
				t.Errorf("%d: %s of %v: got %v, %v, want the error %v", i, c.op, c.reply, value, err, c.err)
			}
			continue
		}
		got := fmt.Sprint(value)
		if g, ok := value.(lease.Grant); ok {
			got = fmt.Sprintf("epoch %d, wait %v", g.Epoch, g.Wait)
		}
		if err != nil || got != c.want {
			t.Errorf("%d: %s of %v: got %s, %v, want %s", i, c.op, c.reply, got, err, c.want)
		}
	}
}

// errOther stands for an error without a sentinel.
var errOther = errors.New("other")

// TestBadRegistrationsHideNoOther: those that can be read come with the error.
func TestBadRegistrationsHideNoOther(t *testing.T) {
	got, err := command.Workers().Decode([]any{`{"worker_id":"b"}`, "{", `{"worker_id":"a"}`})
	if err == nil || len(got) != 2 || got[0].ID != "a" || got[1].ID != "b" {
		t.Errorf("Workers: got %v, %v, want a, b and an error", got, err)
	}
}

func TestDecodeRecords(t *testing.T) {
	reply := []any{
		"1700000005000", "1:epoch", "8", "1:deadline", "1700000004000", "1:renewed", "1700000001000", "1:start", "1700000005500",
		"1:worker", "w2", "1:edge", "192.0.2.2:7844", "1:region", "r2", "1:protocol", "", "1:status", `{"state":"failed","retries":1}`,
		"1:retries", "4", "1:starts", "1",
		"0:epoch", "7", "0:deadline", "1700000006000", "0:renewed", "1700000005000", "0:start", "1700000000000", "0:worker", "w",
		"0:edge", "192.0.2.1:7844", "0:region", "r1", "0:protocol", "quic", "0:status", `{"state":"connected","location":"ams01"}`,
		"0:retries", "9", "0:starts", "0",
	}
	s := slot(0)
	got, err := command.Slots(s.Tunnel, s.Connector).Decode(reply)
	if err != nil {
		t.Fatal(err)
	}
	want := []lease.Record{
		{
			Grant: lease.Grant{
				Slot: slot(0), Worker: "w", Epoch: 7, Edge: edge(), Protocol: tunnel.QUIC, Wait: -5 * time.Second,
			},
			Status: lease.Status{State: lease.StateConnected, Location: "ams01"}, Live: true,
		},
		{
			Grant: lease.Grant{
				Slot: slot(1), Worker: "w2", Epoch: 8, Wait: 500 * time.Millisecond,
				Edge: tunnel.EdgeAddr{Region: "r2", Addr: netip.MustParseAddrPort("192.0.2.2:7844")},
			},
			Status: lease.Status{State: lease.StateFailed, Retries: 4}, Age: 4 * time.Second,
		},
	}
	if !slices.Equal(got.Records, want) || len(got.Damaged) > 0 {
		t.Errorf("table:\ngot  %+v\nwant %+v", got, want)
	}
}

// TestDamagedSlotsHideNoOther: a slot that cannot be read is listed with the reason, beside the good ones.
func TestDamagedSlotsHideNoOther(t *testing.T) {
	s := slot(0)
	got, err := command.Slots(s.Tunnel, s.Connector).Decode([]any{
		"1000", "2:epoch", "7", "2:edge", "192.0.2.1:7844", "0:epoch", "x", "1:epoch", "9", "1:edge", "nowhere", "3:epoch", "-1",
		"4:epoch", "4", "4:edge", "192.0.2.4:7844", "4:status", "{", "5:epoch", "5", "5:retries", "many", "700:epoch", "1", "odd", "1",
	})
	if err != nil || len(got.Records) != 1 || got.Records[0].Slot.Index != 2 || got.Records[0].Epoch != 7 {
		t.Fatalf("got %+v, %v, want the record of slot 2", got, err)
	}
	var lines []string
	for _, d := range got.Damaged {
		lines = append(lines, fmt.Sprintf("%d %s", d.Epoch, d))
	}
	want := `0 field "700:epoch": it is of no slot
0 field "odd": it is of no slot
0 slot 0: epoch: strconv.ParseInt: parsing "x": invalid syntax
9 slot 1: edge: not an ip:port
0 slot 3: epoch: -1
4 slot 4: status: unexpected end of JSON input
5 slot 5: retries: strconv.ParseInt: parsing "many": invalid syntax`
	if diff := cmp.Diff(want, strings.Join(lines, "\n")); diff != "" {
		t.Errorf("damaged (-want +got):\n%s", diff)
	}
}

// TestInstances: an instance counts with the epoch that it was written with, since a version that knows none leaves that of a former one.
func TestInstances(t *testing.T) {
	s := slot(0)
	got, err := command.Slots(s.Tunnel, s.Connector).Decode([]any{
		"1000", "0:epoch", "7", "0:edge", "192.0.2.1:7844", "0:instance", "7/a", "0:former", "w9", "0:starts", "0",
		"1:epoch", "8", "1:edge", "192.0.2.2:7844", "1:instance", "7/a",
	})
	if err != nil || len(got.Records) != 2 {
		t.Fatalf("got %+v, %v, want two records", got, err)
	}
	if r := got.Records[0]; r.Instance != "a" || r.Former != "w9" || r.Claimed {
		t.Errorf("slot 0: %+v, want instance a after w9", r)
	}
	if r := got.Records[1]; r.Instance != "" || !r.Claimed {
		t.Errorf("slot 1: %+v, want no instance, and a claim", r)
	}
}

// TestTaken: the reply says who has the id, as far as that can be read.
func TestTaken(t *testing.T) {
	r, err := command.RenewWorker(fleet.Renewal{Worker: leased()}, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Decode([]any{"taken", "5000", `{"worker_id":"w","host":"h2","pid":7,"started":"2026-01-02T03:04:05Z"}`})
	if err != nil || got.Taken == nil || got.Taken.Until != 5*time.Second {
		t.Fatalf("got %+v, %v", got, err)
	}
	const want = `worker id "w" belongs to another process that runs (host h2, pid 7, started 2026-01-02T03:04:05Z): ` +
		"give each worker an id of its own, or leave the setting empty"
	if text := (&fleet.TakenError{ID: "w", By: got.Taken.By}).Error(); text != want {
		t.Errorf("got %s\nwant %s", text, want)
	}
	if got, err = r.Decode([]any{"taken", "5000", "{"}); err != nil || got.Taken == nil || got.Taken.By.Host != "" {
		t.Errorf("with a record that cannot be read: %+v, %v", got, err)
	}
}

// TestWaitAndRetriesOfTheNextHolder: what the edge asked for and grants that never connected stay in the record over grants.
func TestWaitAndRetriesOfTheNextHolder(t *testing.T) {
	s := slot(0)
	got, err := command.Slots(s.Tunnel, s.Connector).Decode([]any{
		"1000", "0:epoch", "7", "0:edge", "192.0.2.1:7844", "0:start", "1500", "0:hold", "61000", "0:retries", "1", "0:starts", "4",
		"0:status", `{"state":"granted"}`,
	})
	if err != nil || len(got.Records) != 1 || got.Records[0].Wait != time.Minute || got.Records[0].Status.Retries != 3 {
		t.Errorf("got %+v, %v, want a wait of a minute and 3 retries", got, err)
	}
}

// What cannot be sent is an error before anything is sent.
func TestRefusedRequests(t *testing.T) {
	grant := lease.Grant{Slot: slot(1), Worker: "w", Edge: edge()}
	noWorker, noEdge := grant, grant
	noWorker.Worker, noEdge.Edge = "", tunnel.EdgeAddr{}
	_, err := command.Grant(noWorker, 0, time.Second)
	wantRefused(t, "Grant without a worker", err, "grant slot 1: empty worker id")
	_, err = command.Grant(noEdge, 0, time.Second)
	wantRefused(t, "Grant without an address", err, "grant slot 1: no edge address")
	_, err = command.PutWorker(fleet.Worker{}, time.Second)
	wantRefused(t, "PutWorker without an id", err, "register worker: empty id")
	_, err = command.RenewWorker(fleet.Renewal{Worker: worker()}, time.Second)
	wantRefused(t, "RenewWorker without an instance", err, "renew worker: empty id or instance")
	_, err = command.PublishPool("p", edgepool.Pool{})
	wantRefused(t, "PublishPool of nothing", err, `publish pool "p": conflict: it has no address`)
	_, err = command.SetDesired(tunnel.ID{1}, 0, desired.Spec{Connections: 300}, "", false)
	wantRefused(t, "SetDesired beyond the limits", err, "set desired state: connections: 300 is not between 1 and 255")
	_, err = command.Submit(desired.Command{}, time.Second)
	if err == nil {
		t.Error("an empty command was accepted")
	}
	_, err = command.Submit(order(), time.Hour)
	wantRefused(t, "Submit for an hour", err, "submit command: ttl: 1h0m0s is not between 1s and 10m0s")
	err = command.Unavailable("op", "host:1", errOther)
	wantRefused(t, "Unavailable", err, "op: store host:1: unavailable: other")
	if !errors.Is(err, tunnel.ErrUnavailable) || !errors.Is(err, errOther) {
		t.Errorf("Unavailable: %v is not both of its causes", err)
	}
}

func wantRefused(t *testing.T, what string, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("%s: got %v, want %s", what, err, want)
	}
}
