package supervisor

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// caller calls the API of a supervisor, without a listener.
type caller struct {
	*lab
	echo    *echo.Echo
	service *Service
}

func (a caller) call(method, path, body string, out any) int {
	a.t.Helper()
	rec := httptest.NewRecorder()
	a.echo.ServeHTTP(rec, httptest.NewRequest(method, "/v1"+path, strings.NewReader(body)))
	if out != nil && rec.Code < http.StatusBadRequest {
		if err := json.Unmarshal(rec.Body.Bytes(), out); err != nil {
			a.t.Fatalf("%s %s: %v in %s", method, path, err, rec.Body)
		}
	}
	return rec.Code
}

// connected is a tunnel of two connections, at a worker that reports as it should.
func connectedLab(t *testing.T) caller {
	t.Helper()
	a := caller{lab: newLab(t, 8), echo: echo.New()}
	s := a.start("s1", a.store)
	a.service = s
	a.echo.HTTPErrorHandler = ops.ErrorHandler(s.log)
	s.Routes(a.echo.Group("/v1"))
	a.worker(2)
	for n := range 2 {
		testkit.Eventually(t, "the next index is granted", func() bool { return len(a.slots()) == n+1 })
		a.report(a.slots()[n], lease.Status{State: lease.StateConnected})
	}
	return a
}

func TestDesiredStateIsFollowed(t *testing.T) {
	a := connectedLab(t)
	path := "/desired/" + a.id.String()
	var doc opsapi.DesiredTunnel
	if code := a.call("GET", path, "", &doc); code != http.StatusOK || doc.Version != 0 {
		t.Fatalf("before any change: %d, %+v", code, doc)
	}
	if code := a.call("PUT", path, `{"version":0,"author":"ann","spec":{"paused":true}}`, &doc); code != http.StatusOK || doc.Version == 0 {
		t.Fatalf("pause: %d, %+v", code, doc)
	}
	testkit.Eventually(t, "a paused tunnel gives its slots back", func() bool {
		r := a.slots()
		return r[0].Worker == "" && r[1].Worker == ""
	})
	if code := a.call("PUT", path, `{"version":0,"spec":{}}`, nil); code != http.StatusConflict {
		t.Errorf("a change of an old version: %d", code)
	}
	body, err := json.Marshal(desired.Change{Version: &doc.Version, Spec: desired.Spec{Connections: 3}})
	if err != nil {
		t.Fatal(err)
	}
	code := a.call("PUT", path, string(body), &doc)
	if code != http.StatusOK || doc.Connections != 3 || doc.Former == nil || !doc.Former.Paused {
		t.Fatalf("resume: %d, %+v", code, doc)
	}
	testkit.Eventually(t, "all three are granted", func() bool {
		r := a.slots()
		return len(r) == 3 && r[0].Worker != "" && r[2].Worker != ""
	})
	var all opsapi.Desired
	if code := a.call("GET", "/desired", "", &all); code != http.StatusOK || len(all.Tunnels) != 1 || all.Tunnels[0].Version != doc.Version {
		t.Errorf("all: %d, %+v", code, all)
	}
	for body, want := range map[string]string{"": path, `{"spec":{}}`: path, `{"version":1,"spec":{"x":1}}`: path, "{}": "/desired/x"} {
		if code := a.call("PUT", want, body, nil); code != http.StatusBadRequest {
			t.Errorf("PUT %s %q: %d", want, body, code)
		}
	}
}

func TestDrainOfAWorker(t *testing.T) {
	a := connectedLab(t)
	if code := a.call("PUT", "/workers/w9/drain", `{"drained":true}`, nil); code != http.StatusNotFound {
		t.Errorf("drain of no worker: %d", code)
	}
	var mark opsapi.WorkerMark
	if code := a.call("PUT", "/workers/w1/drain", `{"drained":true,"author":"ann"}`, &mark); code != http.StatusOK || !mark.Drained {
		t.Fatalf("drain: %d, %+v", code, mark)
	}
	version := mark.Version
	if code := a.call("PUT", "/workers/w1/drain", `{"drained":true}`, &mark); code != http.StatusOK || mark.Version != version {
		t.Errorf("drain again: %d, %+v", code, mark)
	}
	code := a.call("PUT", "/workers/w1/drain", `{"drained":false}`, &mark)
	if code != http.StatusOK || mark.Drained || mark.Version <= version {
		t.Errorf("end of the drain: %d, %+v", code, mark)
	}
	if code := a.call("PUT", "/workers/w1/drain", `{}`, nil); code != http.StatusBadRequest {
		t.Errorf("an empty request: %d", code)
	}
}

func TestCommandsOverTheAPI(t *testing.T) {
	a := connectedLab(t)
	var slots opsapi.TunnelSlots
	if code := a.call("GET", "/tunnels/"+a.id.String()+"/slots", "", &slots); code != http.StatusOK || len(slots.Slots) != 2 {
		t.Fatalf("slots: %d, %+v", code, slots)
	}
	send := func(id string, kind desired.Kind, epoch uint64) (code int) {
		c := desired.Command{ID: id, Kind: kind, Tunnel: a.id, Index: 1, Epoch: slots.Slots[1].Epoch}
		if epoch != 0 {
			c.Epoch = 1
		}
		b, err := json.Marshal(desired.Submission{Command: c})
		if err != nil {
			t.Fatal(err)
		}
		return a.call("POST", "/commands", string(b), nil)
	}
	outcome := func(id string, want desired.Outcome) opsapi.Command {
		t.Helper()
		var c opsapi.Command
		testkit.Eventually(t, id+" is "+string(want), func() bool {
			return a.call("GET", "/commands/"+id, "", &c) == http.StatusOK && c.Outcome == want
		})
		return c
	}
	if code := send("c1", desired.Reconnect, 0); code != http.StatusAccepted {
		t.Fatalf("submit: %d", code)
	}
	outcome("c1", desired.Done)
	if r := a.slots()[1]; r.Reconnect != "c1" {
		t.Errorf("record %+v, want the reconnect", r)
	}
	if send("c2", desired.Reconnect, 1); !strings.Contains(outcome("c2", desired.Refused).Detail, "by now") {
		t.Error("a command for another epoch was not refused for it")
	}
	before := a.slots()[1]
	send("c3", desired.Move, 0)
	outcome("c3", desired.Done)
	if r := a.slots()[1]; r.Epoch <= before.Epoch || r.Edge == before.Edge || r.Command != "c3" {
		t.Errorf("record %+v, want a move from %+v", r, before)
	}
	send("c3", desired.Move, 0)
	if got := a.slots()[1].Epoch; outcome("c3", desired.Done).Epoch != before.Epoch || got != a.slots()[1].Epoch {
		t.Error("the same command moved the slot again")
	}
	if code := send("c3", desired.Reconnect, 0); code != http.StatusConflict {
		t.Errorf("another command with the id: %d", code)
	}
	if code := a.call("GET", "/commands/none", "", nil); code != http.StatusNotFound {
		t.Errorf("no command: %d", code)
	}
	if code := a.call("POST", "/commands", "{", nil); code != http.StatusBadRequest {
		t.Errorf("no JSON: %d", code)
	}
}
