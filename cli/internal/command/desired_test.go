package command_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/opsclient"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// operated is a connector with two connections, and an operator of it.
type operated struct {
	t       *testing.T
	env     []string
	tunnel  string
	metrics string
	client  *http.Client
}

func startOperated(t *testing.T) operated {
	t.Helper()
	e, metrics := startEdge(t), testkit.FreeTCP(t).String()
	cred, err := credential.ParseToken(e.token)
	if err != nil {
		t.Fatal(err)
	}
	start(t, []string{"TUNNEL_TOKEN=" + e.token, "TUNNEL_METRICS=" + metrics},
		append(e.flags(), "--ha-connections", "2", "run", "--hello-world")...)
	o := operated{
		t: t, env: []string{"CULVERT_SUPERVISOR=http://" + metrics, "USER=ann", "HOME=" + t.TempDir()}, tunnel: cred.TunnelID.String(),
		metrics: metrics, client: client(t),
	}
	o.connections(2)
	return o
}

func (o operated) connections(want int) {
	o.t.Helper()
	testkit.Eventually(o.t, strconv.Itoa(want)+" connections", func() bool {
		_, n := readiness(o.t, o.client, o.metrics)
		return n == want
	})
}

func (o operated) must(args ...string) string {
	o.t.Helper()
	code, stdout, stderr := run(o.t, o.env, args...)
	if code != 0 {
		o.t.Fatalf("culvert %s: exit %d, %s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

func (o operated) refused(want string, args ...string) {
	o.t.Helper()
	code, _, stderr := run(o.t, o.env, args...)
	if code != 1 || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
		o.t.Errorf("culvert %s: exit %d, %q, want one line with %q", strings.Join(args, " "), code, stderr, want)
	}
}

// TestDesiredStateOfOneProcess: the number of connections of a connector changes while it runs, and it pauses and resumes.
func TestDesiredStateOfOneProcess(t *testing.T) {
	o := startOperated(t)
	if out := o.must("desired", "show", o.tunnel); !strings.Contains(out, "as the workers' settings say") {
		t.Errorf("show: %s", out)
	}
	var doc opsclient.Tunnel
	out := o.must("desired", "set", o.tunnel, "--connections", "3", "-o", "json")
	if err := json.Unmarshal([]byte(out), &doc); err != nil || doc.Connections != 3 || doc.Author != "ann" || doc.Version == 0 {
		t.Fatalf("set: %s, %v", out, err)
	}
	o.connections(3)
	o.must("desired", "set", "--weight", "w1=2", "--weight", "host/h=0", "--paused", o.tunnel)
	o.connections(0)
	if out := o.must("desired", "show"); !strings.Contains(out, `{"connections":3,"paused":true,"weights":{"host/h":0,"w1":2}}`) {
		t.Errorf("show: %s", out)
	}
	o.must("desired", "set", o.tunnel, "--paused=false", "--connections", "1", "--unset", "weights")
	o.connections(1)
	o.must("desired", "set", o.tunnel, "--unset", "all")
	o.connections(2)
	o.refused("it has version", "desired", "set", o.tunnel, "--if-version", strconv.FormatUint(doc.Version, 10), "--paused")
	o.refused(`protocol: "h3" is none of auto, quic, http2`, "desired", "set", o.tunnel, "--protocol", "h3")
	o.refused("--connections 0", "desired", "set", o.tunnel, "--connections", "0")
	o.refused("--unset", "desired", "set", o.tunnel, "--unset", "everything")
	o.refused("--weight", "desired", "set", o.tunnel, "--weight", "w1")
	o.refused("needs: TUNNEL", "desired", "set")
	o.refused("is no id", "desired", "set", "shop", "--paused")
}

// TestCommandsToOneProcess: a connection is made again, and elsewhere, once for each command.
func TestCommandsToOneProcess(t *testing.T) {
	o := startOperated(t)
	slot := func() (epoch uint64, edge string) {
		t.Helper()
		_, body := fetch(t, o.client, "http://"+o.metrics+"/v1/tunnels/"+o.tunnel+"/slots", "")
		var slots opsclient.Slots
		if err := json.Unmarshal([]byte(body), &slots); err != nil || len(slots.Slots) != 2 {
			t.Fatalf("slots: %s, %v", body, err)
		}
		return uint64(slots.Slots[1].Epoch), slots.Slots[1].Edge.String()
	}
	epoch, edge := slot()
	var done opsclient.Command
	out := o.must("reconnect", o.tunnel, "1", "--id", "once", "-o", "json")
	if err := json.Unmarshal([]byte(out), &done); err != nil || done.Outcome != desired.Done || uint64(done.Epoch) != epoch {
		t.Fatalf("reconnect: %s, %v", out, err)
	}
	o.connections(2)
	o.must("move", o.tunnel, "1")
	moved, to := slot()
	if moved <= epoch || to == edge {
		t.Errorf("slot 1 has epoch %d at %s after a move from %d at %s", moved, to, epoch, edge)
	}
	o.connections(2)
	if out := o.must("reconnect", o.tunnel, "1", "--id", "once"); !strings.Contains(out, "done") {
		t.Errorf("the same command again: %s", out)
	}
	if after, _ := slot(); after != moved {
		t.Errorf("the same command again changed epoch %d to %d", moved, after)
	}
	o.refused("by now", "move", o.tunnel, "1", "--epoch", strconv.FormatUint(epoch, 10))
	o.refused("not found", "move", o.tunnel, "9")
	o.refused("no worker w9 is registered", "move", o.tunnel, "1", "--worker", "w9")
	o.refused("--address", "move", o.tunnel, "1", "--address", "here")
	o.refused("is not a number", "reconnect", o.tunnel, "x")
	o.refused("not found", "drain", "w9")
	o.refused("supervisor call", "drain", "w9", "--supervisor", "http://"+testkit.FreeTCP(t).String())
}
