package admin_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/admin"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

type answer struct {
	Success bool
	Result  *struct {
		ID         tunnel.ID
		Name       string
		Hostname   string
		AccountTag string `json:"account_tag"`
		Secret     []byte
	}
	Errors []struct {
		Code    int
		Message string
	}
}

// serve runs a service and returns its catalog and its URL.
func serve(t *testing.T, change func(*admin.QuickConfig)) (*catalog.Catalog, string) {
	t.Helper()
	list, err := catalog.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cfg := admin.DefaultQuick()
	cfg.Listen, cfg.Domain = netip.MustParseAddrPort("127.0.0.1:0"), "quick.example.com"
	change(&cfg)
	s, err := admin.NewQuick(cfg, admin.QuickDeps{
		Catalog: list, Table: registry.NewTable(), Logger: slog.New(slog.DiscardHandler), TrustedProxies: []string{"127.0.0.0/8"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := list.Close(); err != nil {
			t.Error(err)
		}
	})
	return list, "http://" + s.Addr().String()
}

func ask(t *testing.T, method, url, client string) (int, answer) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-For", client)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var a answer
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, a
}

func TestQuickTunnel(t *testing.T) {
	list, url := serve(t, func(*admin.QuickConfig) {})
	status, a := ask(t, http.MethodPost, url+"/tunnel", "192.0.2.1")
	if status != http.StatusOK || !a.Success || a.Result == nil || len(a.Errors) != 0 {
		t.Fatalf("status %d, %+v", status, a)
	}
	if !strings.HasSuffix(a.Result.Hostname, ".quick.example.com") || strings.Count(a.Result.Name, "-") != 3 {
		t.Errorf("names: %+v", a.Result)
	}
	route, ok := list.Lookup(a.Result.Hostname)
	creds := tunnel.Credentials{AccountTag: a.Result.AccountTag, Secret: a.Result.Secret, TunnelID: a.Result.ID}
	if !ok || route.Tunnel != a.Result.ID || !list.Validity(creds, time.Now()).Valid {
		t.Errorf("route %+v, credentials valid: %v", route, list.Validity(creds, time.Now()).Valid)
	}
}

func TestQuickRefusals(t *testing.T) {
	list, url := serve(t, func(c *admin.QuickConfig) { c.MaxTunnels, c.PerMinutePerAddress = 3, 2 })
	for i, step := range []struct {
		method, path, client string
		want                 int
	}{
		{http.MethodGet, "/tunnel", "192.0.2.1", http.StatusMethodNotAllowed},
		{http.MethodPost, "/", "192.0.2.1", http.StatusNotFound},
		{http.MethodPost, "/tunnel", "192.0.2.1", http.StatusOK},
		{http.MethodPost, "/tunnel", "192.0.2.1", http.StatusOK},
		{http.MethodPost, "/tunnel", "192.0.2.1", http.StatusTooManyRequests},
		{http.MethodPost, "/tunnel", "192.0.2.2", http.StatusOK},
		{http.MethodPost, "/tunnel", "192.0.2.3", http.StatusServiceUnavailable},
	} {
		status, a := ask(t, step.method, url+step.path, step.client)
		if status != step.want || a.Success != (step.want == http.StatusOK) {
			t.Errorf("step %d: status %d, %+v", i, status, a)
		}
		if !a.Success && (len(a.Errors) != 1 || a.Errors[0].Code != step.want || a.Errors[0].Message == "") {
			t.Errorf("step %d: errors %+v", i, a.Errors)
		}
	}
	if n := len(list.Quick()); n != 3 {
		t.Errorf("%d quick tunnels exist", n)
	}
}

func TestForgottenTunnelsDisappear(t *testing.T) {
	list, url := serve(t, func(c *admin.QuickConfig) { c.KeepFor = time.Second })
	if _, err := list.CreateTunnel("mine", time.Now()); err != nil {
		t.Fatal(err)
	}
	_, a := ask(t, http.MethodPost, url+"/tunnel", "192.0.2.1")
	testkit.Eventually(t, "the quick tunnel has gone", func() bool { return len(list.Quick()) == 0 })
	if _, ok := list.Lookup(a.Result.Hostname); ok {
		t.Error("its route is still there")
	}
	if all := list.Tunnels(); len(all) != 1 || all[0].Name != "mine" {
		t.Errorf("tunnels: %v", all)
	}
}
