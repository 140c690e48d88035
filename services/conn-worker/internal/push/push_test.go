package push

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// remoteProxy applies configurations, except those with the text "bad".
type remoteProxy struct {
	Target
	stop func()

	mu      sync.Mutex
	version int32
	pushes  int
	// others has the versions of the tunnels besides the first one, and refuseOther makes their flows fail.
	others      map[tunnel.ID]int32
	refuseOther bool
}

func (p *remoteProxy) ServeStream(_ context.Context, m link.Meta, st link.Stream) {
	b, err := io.ReadAll(st)
	u, perr := remoteconfig.ParseUpdate(b)
	if err != nil || perr != nil || m.Kind != link.KindConfig {
		st.Abort()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.Tunnel != (tunnel.ID{1}) {
		if p.refuseOther {
			st.Abort()
			return
		}
		if p.others == nil {
			p.others = map[tunnel.ID]int32{}
		}
		p.others[m.Tunnel] = u.Version
		_, _ = st.Write(remoteconfig.Result{Applied: u.Version}.Append(nil))
		_ = st.CloseWrite()
		return
	}
	p.pushes++
	r := remoteconfig.Result{}
	switch {
	case strings.Contains(string(u.Document), "bad"):
		r.Rejection = "rejected"
	case u.Version > p.version:
		p.version = u.Version
	}
	r.Applied = p.version
	_, _ = st.Write(r.Append(nil))
	_ = st.CloseWrite()
}

func (p *remoteProxy) has() int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version
}

func newRemoteProxy(t *testing.T, id string) *remoteProxy {
	t.Helper()
	e, err := link.ParseEndpoint("unix:" + filepath.Join(t.TempDir(), id+".sock"))
	if err != nil {
		t.Fatal(err)
	}
	p := &remoteProxy{Target: Target{link.Proxy{ID: tunnel.ProxyID(id), Endpoint: e}, "first"}, version: remoteconfig.LocalVersion}
	l, err := e.Listen(nil)
	if err != nil {
		t.Fatal(err)
	}
	server := link.NewServer(link.ServerConfig{Handler: p, Logger: slog.New(slog.DiscardHandler), Instance: id})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(ctx, l)
	}()
	p.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(p.stop)
	return p
}

func TestPusher(t *testing.T) {
	b := link.NewBalancer(link.BalancerConfig{})
	t.Cleanup(func() { _ = b.Close() })
	p := New(b, slog.New(slog.DiscardHandler))
	id := tunnel.ID{1}
	update := func(version int32, config string, applied int32, text string) {
		t.Helper()
		v, err := p.Apply(t.Context(), remoteconfig.Update{Tunnel: id, Version: version, Document: []byte(config)})
		if v != applied || (err == nil) != (text == "") || err != nil && err.Error() != text {
			t.Errorf("version %d: %d, %v, want %d, %q", version, v, err, applied, text)
		}
	}
	admit := func(present []*remoteProxy, want ...string) {
		t.Helper()
		var targets []Target
		for _, f := range present {
			targets = append(targets, f.Target)
		}
		var got []string
		for _, ready := range p.Admit(t.Context(), targets) {
			got = append(got, string(ready.ID))
		}
		if !slices.Equal(got, want) {
			t.Errorf("admitted %v, want %v", got, want)
		}
	}
	update(1, "{}", -1, errNoProxy.Error())
	one, two, three := newRemoteProxy(t, "one"), newRemoteProxy(t, "two"), newRemoteProxy(t, "three")
	admit([]*remoteProxy{one, two}, "one", "two")
	update(3, "{}", 3, "")
	if one.has() != 3 || two.has() != 3 {
		t.Errorf("versions %d and %d", one.has(), two.has())
	}
	pushes := one.pushes
	update(3, "{}", 3, "")
	update(2, "{}", 3, "")
	update(4, "bad", 3, "configuration rejected: rejected")
	update(4, "bad", 3, "configuration rejected: rejected")
	if one.pushes != pushes+2 {
		t.Errorf("%d pushes to the first proxy", one.pushes-pushes)
	}
	// A proxy that comes later is brought up to date before it gets flows.
	admit([]*remoteProxy{one, two, three}, "one", "two", "three")
	if three.has() != 3 {
		t.Errorf("the late proxy has %d", three.has())
	}
	// A proxy that was restarted is brought up to date as well.
	two.mu.Lock()
	two.version, two.Instance = remoteconfig.LocalVersion, "second"
	two.mu.Unlock()
	admit([]*remoteProxy{one, two, three}, "one", "two", "three")
	if two.has() != 3 {
		t.Errorf("the restarted proxy has %d", two.has())
	}
	// An unreachable proxy does not make a push fail, and gets no flows until it has the configuration.
	three.stop()
	update(5, "{}", 5, "")
	admit([]*remoteProxy{one, two, three}, "one", "two")
	admit([]*remoteProxy{three}, "three")
}

// TestPusherOfTwoTunnels has a proxy that missed the push of one tunnel and got that of another: it is sent the one that it lacks, and
// nothing again.
func TestPusherOfTwoTunnels(t *testing.T) {
	b := link.NewBalancer(link.BalancerConfig{})
	t.Cleanup(func() { _ = b.Close() })
	p := New(b, slog.New(slog.DiscardHandler))
	one, two := newRemoteProxy(t, "one"), newRemoteProxy(t, "two")
	admit := func() (ready []string) {
		for _, proxy := range p.Admit(t.Context(), []Target{one.Target, two.Target}) {
			ready = append(ready, string(proxy.ID))
		}
		return ready
	}
	push := func(id tunnel.ID, version int32) {
		t.Helper()
		if v, err := p.Apply(t.Context(), remoteconfig.Update{Tunnel: id, Version: version, Document: []byte("{}")}); v != version || err != nil {
			t.Errorf("%s: %d, %v", id, v, err)
		}
	}
	refuse := func(yes bool) {
		two.mu.Lock()
		defer two.mu.Unlock()
		two.refuseOther = yes
	}
	admit()
	refuse(true)
	push(tunnel.ID{2}, 7) // reaches the first proxy alone
	push(tunnel.ID{1}, 3) // reaches both
	if got := admit(); !slices.Equal(got, []string{"one"}) {
		t.Errorf("ready %v, want the proxy that has both configurations", got)
	}
	refuse(false)
	pushes := one.pushes + two.pushes
	if got := admit(); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("ready %v, want both", got)
	}
	if two.others[tunnel.ID{2}] != 7 {
		t.Errorf("the second proxy has %d of the tunnel that it missed", two.others[tunnel.ID{2}])
	}
	if one.pushes+two.pushes != pushes {
		t.Error("the configuration of the other tunnel was sent again")
	}
	if v, err := p.Apply(t.Context(), remoteconfig.Update{Tunnel: tunnel.ID{2}, Version: 6}); v != 7 || err != nil {
		t.Errorf("an older version: %d, %v", v, err)
	}
}
