package desired_test

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const tunnelText = "01000000-0000-0000-0000-000000000000"

func TestParseSpec(t *testing.T) {
	pool := "eu"
	for text, want := range map[string]desired.Spec{
		`{}`: {},
		`{"connections":2,"protocol":"http2","pool":"eu","paused":true,"weights":{"w1":0,"host/h1":100}}`: {
			Connections: 2, Protocol: "http2", Pool: &pool, Paused: true, Weights: map[string]int{"w1": 0, "host/h1": 100},
		},
	} {
		got, err := desired.ParseSpec([]byte(text))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
	}
	for text, want := range map[string]string{
		``:                        "desired state: the document is empty",
		`{"connections":2}{}`:     "there is more after the document",
		`{"conections":2}`:        `unknown field "conections"`,
		`{"connections":"2"}`:     "connections: string is not a int",
		`{"connections":256}`:     "connections: 256 is not between 1 and 255",
		`{"connections":-1}`:      "connections: -1 is not between 1 and 255",
		`{"protocol":"h3"}`:       `protocol: "h3" is none of auto, quic, http2`,
		`{"pool":"a\nb"}`:         `pool: "a\nb" has a character that cannot be printed`,
		`{"weights":{"w":101}}`:   `weights: 101 of "w" is not between 0 and 100`,
		`{"weights":{"host/":1}}`: `weights: "host/" names no worker and no host`,
		`{"pool":"` + strings.Repeat("x", 129) + `"}`: "pool: a name of 129 bytes is longer than 128",
		strings.Repeat(" ", desired.MaxBytes+1):       "65537 bytes are more than 65536",
	} {
		if _, err := desired.ParseSpec([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %v, want %s", text, err, want)
		}
	}
	_, err := desired.ParseSpec([]byte(`{"connections":999,"protocol":"x","weights":{"w":-1}}`))
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("got %v, want all three problems", err)
	}
}

func TestSpec(t *testing.T) {
	s := desired.Spec{Protocol: "auto", Weights: map[string]int{"w1": 3, "host/h1": 5}}
	if p, set := s.Transport(); p != "" || !set {
		t.Errorf("auto: %q, %v", p, set)
	}
	if p, set := (desired.Spec{Protocol: "quic"}).Transport(); p != tunnel.QUIC || !set {
		t.Errorf("quic: %q, %v", p, set)
	}
	if _, set := (desired.Spec{}).Transport(); set {
		t.Error("no protocol is set")
	}
	for _, c := range []struct {
		worker tunnel.WorkerID
		host   string
		want   int
	}{{"w1", "h1", 3}, {"w2", "h1", 5}, {"w2", "h2", 1}} {
		if got := s.Weight(c.worker, c.host); got != c.want {
			t.Errorf("weight of %s on %s: %d, want %d", c.worker, c.host, got, c.want)
		}
	}
	a, b := "a", "a"
	if !(desired.Spec{Pool: &a}).SamePool(desired.Spec{Pool: &b}) || (desired.Spec{Pool: &a}).SamePool(desired.Spec{}) {
		t.Error("SamePool compares the names")
	}
}

// TestBody: what is stored comes back, also with fields of a later version.
func TestBody(t *testing.T) {
	b := desired.Body{Spec: desired.Spec{Connections: 3}, Drained: true, Author: "ann"}
	text, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := desired.DecodeBody([]byte(strings.Replace(string(text), "{", `{"later":{"x":1},`, 1)))
	if diff := cmp.Diff(b, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if _, err := (desired.Body{Author: "a\tb"}).Encode(); err == nil {
		t.Error("an author with a tab was accepted")
	}
	for _, text := range []string{``, `[]`, `{"connections":300}`, strings.Repeat(" ", desired.MaxBytes+1)} {
		if _, err := desired.DecodeBody([]byte(text)); err == nil {
			t.Errorf("%.20q was accepted", text)
		}
	}
}

func TestParseCommand(t *testing.T) {
	const good = `{"id":"c1","kind":"move","tunnel_id":"` + tunnelText + `","conn_index":3,"epoch":7,` +
		`"worker_id":"w","edge_addr":"192.0.2.1:7844"}`
	want := desired.Command{
		ID: "c1", Kind: desired.Move, Tunnel: tunnel.ID{1}, Index: 3, Epoch: 7, Worker: "w", Edge: netip.MustParseAddrPort("192.0.2.1:7844"),
	}
	if got, err := desired.ParseCommand([]byte(good)); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for change, want := range map[[2]string]string{
		{`"c1"`, `""`}:                         "id:",
		{`"c1"`, `"a b"`}:                      "id:",
		{`"move"`, `"stop"`}:                   `kind: "stop" is none of reconnect, move`,
		{`"move"`, `"reconnect"`}:              "that is a move",
		{tunnelText, "x"}:                      `tunnel id: "x" is not a UUID`,
		{`"epoch":7`, `"epoch":0`}:             "epoch: is missing",
		{`"epoch":7`, `"epoc":7`}:              `unknown field "epoc"`,
		{`"conn_index":3`, `"conn_index":256`}: "conn_index: number 256 is not a tunnel.ConnIndex",
	} {
		_, err := desired.ParseCommand([]byte(strings.Replace(good, change[0], change[1], 1)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %s", change, err, want)
		}
	}
	if _, err := desired.DecodeCommand([]byte(strings.Replace(good, "{", `{"later":1,`, 1))); err != nil {
		t.Errorf("a field of a later version: %v", err)
	}
	if desired.CheckTTL(time.Second) != nil || desired.CheckTTL(time.Hour) == nil {
		t.Error("CheckTTL")
	}
}

// TestRequests: a request says what it means, and every problem of it.
func TestRequests(t *testing.T) {
	c, err := desired.ParseChange([]byte(`{"version":7,"author":"ann","spec":{"paused":true}}`))
	if err != nil || *c.Version != 7 || c.Author != "ann" || !c.Spec.Paused {
		t.Errorf("change %+v, %v", c, err)
	}
	m, err := desired.ParseMarkChange([]byte(`{"drained":false,"author":"ann"}`))
	if err != nil || *m.Drained || m.Author != "ann" {
		t.Errorf("mark %+v, %v", m, err)
	}
	const order = `{"id":"c1","kind":"reconnect","tunnel_id":"` + tunnelText + `","conn_index":3,"epoch":7`
	k, ttl, err := desired.ParseSubmission([]byte(order + `,"ttl":"5s"}`))
	if err != nil || k.ID != "c1" || ttl != 5*time.Second {
		t.Errorf("submission %+v, %v, %v", k, ttl, err)
	}
	if _, ttl, err = desired.ParseSubmission([]byte(order + `}`)); err != nil || ttl != desired.DefaultTTL {
		t.Errorf("submission without a time: %v, %v", ttl, err)
	}
	for text, want := range map[string]string{
		`{"spec":{}}`: "version: is missing",
		`{"version":1,"spec":{"connections":0.5}}`: "spec.connections: number 0.5 is not a int",
		`{"version":1,"spec":{"pause":true}}`:      `unknown field "pause"`,
	} {
		if _, err := desired.ParseChange([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	if _, err := desired.ParseMarkChange([]byte(`{}`)); err == nil {
		t.Error("a drain without drained was accepted")
	}
	for _, ttl := range []string{"soon", "1ms", "2h"} {
		if _, _, err := desired.ParseSubmission([]byte(order + `,"ttl":"` + ttl + `"}`)); err == nil {
			t.Errorf("the time %s was accepted", ttl)
		}
	}
}

// TestMerge: documents and marks never go back, and what the store lost is named.
func TestMerge(t *testing.T) {
	docs := func(versions ...uint64) map[tunnel.ID]desired.Document {
		m := map[tunnel.ID]desired.Document{}
		for i, v := range versions {
			if v > 0 {
				m[tunnel.ID{byte(i)}] = desired.Document{Version: v, Spec: desired.Spec{Paused: true}}
			}
		}
		return m
	}
	known := desired.State{
		Version: 9, Tunnels: docs(3, 5, 7), Workers: map[tunnel.WorkerID]desired.Mark{"w": {Drained: true, Version: 8}},
		Commands: []desired.Status{{Command: desired.Command{ID: "c"}}},
	}
	got, lost := known.Merge(desired.State{Version: 6, Tunnels: docs(4, 2, 0, 6)})
	want := desired.State{
		Version: 6, Tunnels: docs(4, 5, 7, 6), Workers: map[tunnel.WorkerID]desired.Mark{"w": {Drained: true, Version: 8}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !reflect.DeepEqual(lost, desired.Lost{Tunnels: []tunnel.ID{{1}, {2}}, Workers: []tunnel.WorkerID{"w"}}) || lost.Empty() {
		t.Errorf("lost: %+v", lost)
	}
	if _, lost := known.Merge(got); !lost.Empty() {
		t.Errorf("lost: %+v, want nothing", lost)
	}
}

// FuzzParse: a document or command that is accepted is within the limits, and is the same after it was stored.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"connections":2,"protocol":"http2","pool":"eu","paused":true,"weights":{"w1":0,"host/h1":100}}`))
	f.Add([]byte(`{"id":"c1","kind":"move","tunnel_id":"` + tunnelText + `","conn_index":3,"epoch":7,"edge_addr":"[2001:db8::1]:7844"}`))
	f.Add([]byte(`{"drained":true,"author":"ann"}`))
	f.Add([]byte(`{"weights":{"":1,"host/":2}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if s, err := desired.ParseSpec(text); err == nil {
			b, err := desired.Body{Spec: s}.Encode()
			if err != nil {
				t.Fatalf("%+v: %v", s, err)
			}
			got, err := desired.DecodeBody(b)
			again, _ := json.Marshal(got)
			if err != nil || string(again) != string(b) {
				t.Fatalf("%s came back as %s, %v", b, again, err)
			}
		}
		_, _ = desired.ParseChange(text)
		_, _ = desired.ParseMarkChange(text)
		_, _, _ = desired.ParseSubmission(text)
		if c, err := desired.ParseCommand(text); err == nil {
			b, _ := json.Marshal(c)
			if got, err := desired.DecodeCommand(b); err != nil || got != c {
				t.Fatalf("%s came back as %+v, %v", b, got, err)
			}
		}
	})
}
