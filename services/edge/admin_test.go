package edge_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
)

func TestAdminAPI(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	ctx := t.Context()
	made, err := b.admin.CreateTunnel(ctx, "my-app")
	if err != nil {
		t.Fatalf("CreateTunnel: %v", err)
	}
	fromToken, err := credential.ParseToken(made.Token)
	if err != nil {
		t.Fatalf("token: %v", err)
	}
	fromFile, err := credential.ParseFile(made.Credentials)
	if err != nil || fromFile.TunnelID != made.Tunnel.ID || string([]byte(fromFile.Secret)) != string([]byte(fromToken.Secret)) ||
		len(fromFile.Secret) != 32 {
		t.Errorf("credentials file and token differ: %v, %v, %v", fromFile, fromToken, err)
	}
	if _, err := b.admin.CreateTunnel(ctx, "my-app"); !errors.Is(err, tunnel.ErrConflict) {
		t.Errorf("the same name again: %v", err)
	}
	if _, err := b.admin.CreateTunnel(ctx, " "); err == nil {
		t.Error("an empty name was accepted")
	}
	for _, ref := range []string{"my-app", made.Tunnel.ID.String()} {
		if got, err := b.admin.GetTunnel(ctx, ref); err != nil || got.ID != made.Tunnel.ID {
			t.Errorf("GetTunnel(%q) = %v, %v", ref, got, err)
		}
		if token, err := b.admin.Token(ctx, ref); err != nil || token != made.Token {
			t.Errorf("Token(%q) = %q, %v", ref, token, err)
		}
	}
	if _, err := b.admin.GetTunnel(ctx, "none"); !errors.Is(err, tunnel.ErrNotFound) {
		t.Errorf("GetTunnel(none) = %v", err)
	}
	if _, err := b.admin.AddRoute(ctx, "*.App.test", "my-app"); err != nil {
		t.Errorf("AddRoute: %v", err)
	}
	if _, err := b.admin.AddRoute(ctx, "*.app.test", "demo"); !errors.Is(err, tunnel.ErrConflict) {
		t.Errorf("a route of another tunnel: %v", err)
	}
	if _, err := b.admin.AddRoute(ctx, "bad host", "demo"); err == nil || !strings.Contains(err.Error(), "bad host") {
		t.Errorf("a malformed host: %v", err)
	}
	routes, err := b.admin.ListRoutes(ctx)
	if err != nil || len(routes) != 2 || routes[1].Host != "*.app.test" || routes[1].TunnelName != "my-app" {
		t.Errorf("ListRoutes = %+v, %v", routes, err)
	}
	if err := b.admin.DeleteRoute(ctx, "*.app.test"); err != nil {
		t.Errorf("DeleteRoute: %v", err)
	}
	rotated, err := b.admin.RotateSecret(ctx, "my-app", 0)
	if err != nil || rotated.Token == made.Token {
		t.Errorf("RotateSecret: %v, same token %v", err, rotated.Token == made.Token)
	}
	if list, err := b.admin.ListTunnels(ctx); err != nil || len(list) != 2 || list[1].Name != "my-app" {
		t.Errorf("ListTunnels = %+v, %v", list, err)
	}
	if err := b.admin.DeleteTunnel(ctx, "my-app", false); err != nil {
		t.Errorf("DeleteTunnel: %v", err)
	}
}

func TestDeleteTunnelWithConnections(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	p := b.connect(0, 0, named("x"))
	if err := b.admin.DeleteTunnel(t.Context(), "demo", false); !errors.Is(err, tunnel.ErrConflict) {
		t.Fatalf("DeleteTunnel = %v, want ErrConflict", err)
	}
	if err := b.admin.DeleteTunnel(t.Context(), "demo", true); err != nil {
		t.Fatalf("DeleteTunnel by force: %v", err)
	}
	<-p.sess.Context().Done()
	if resp, _ := b.get("/"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("after its end the tunnel's host gives %d", resp.StatusCode)
	}
}

func TestAdminOverTCPNeedsTheToken(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef0123"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := start(t, func(c *edge.Config) { c.Admin.Listen, c.Admin.TokenFile = testkit.Loopback(0), file })
	for secret, ok := range map[string]bool{token: true, "": false, token + "x": false, "0123": false} {
		c, err := adminclient.DialTLS("https://"+b.AdminAddr().String(), tunnel.Secret(secret), b.roots())
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.ListTunnels(t.Context())
		c.Close()
		var p *ops.Problem
		if (err == nil) != ok || (!ok && (!errors.As(err, &p) || p.Status != http.StatusUnauthorized)) {
			t.Errorf("with token %q: %v", secret, err)
		}
	}
	info, err := os.Stat(b.AdminSocket())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v; want mode 0600", info.Mode(), err)
	}
}

// TestAdminOverTCP: the TCP listener speaks TLS with a certificate of the edge's own CA, requires the scheme Bearer, and warns about
// a token file that every user can read.
func TestAdminOverTCP(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef0123"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	b := startWith(t, func(c *edge.Config) { c.Admin.Listen, c.Admin.TokenFile = testkit.Loopback(0), file },
		slog.New(slog.NewTextHandler(&log, nil)))
	if text := log.String(); !strings.Contains(text, "admin token file is readable") {
		t.Errorf("no warning about the token file in the log:\n%s", text)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: b.roots()}, DisableKeepAlives: true}}
	for header, want := range map[string]int{"Bearer " + token: 200, token: 401, "bearer": 401, "Basic " + token: 401} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+b.AdminAddr().String()+"/v1/tunnels", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", header)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("Authorization: %q: status %d, want %d", header, resp.StatusCode, want)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+b.AdminAddr().String()+"/v1/tunnels", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "evil.example"
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("another host name: status %d, want 403", resp.StatusCode)
	}
	c, err := adminclient.Dial("https://"+b.AdminAddr().String(), tunnel.Secret(token))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var unknown x509.UnknownAuthorityError
	if _, err := c.ListTunnels(t.Context()); !errors.As(err, &unknown) {
		t.Errorf("without the edge's CA: %v, want an unknown authority", err)
	}
}

func TestAdminAddresses(t *testing.T) {
	t.Parallel()
	for address, ok := range map[string]bool{
		"unix:/a": true, "/a": true, "http://h:1": true, "https://h": true, "h:1": false, "ftp://h": false, "http://": false,
	} {
		if _, err := adminclient.Dial(address, nil); (err == nil) != ok {
			t.Errorf("Dial(%q) = %v", address, err)
		}
	}
}

// TestUnspecifiedIPv4AcceptsNoIPv6: 0.0.0.0 is every IPv4 address and no other one. By itself Go would take it as [::].
func TestUnspecifiedIPv4AcceptsNoIPv6(t *testing.T) {
	t.Parallel()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("0123456789abcdef0123"), 0o600); err != nil {
		t.Fatal(err)
	}
	every := netip.MustParseAddrPort("0.0.0.0:0")
	b := start(t, func(c *edge.Config) {
		c.Admin.Listen, c.Admin.TokenFile = every, token
		c.Public.HTTP, c.Public.HTTPS, c.DNS.Listen, c.Connectors.Listen = every, every, every, []netip.AddrPort{every}
	})
	port := func(address string) uint16 {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		return uint16(n)
	}
	for name, number := range map[string]uint16{
		"public.http": port(b.PublicURL()), "public.https": port(b.PublicTLSURL()), "admin.listen": b.AdminAddr().Port(),
		"dns.listen": b.DNSAddr().Port(), "connectors.listen": b.ConnectorAddrs()[0].Port(),
	} {
		for host, accepted := range map[string]bool{"127.0.0.1": true, "::1": false} {
			c, err := new(net.Dialer).DialContext(t.Context(), "tcp", net.JoinHostPort(host, strconv.Itoa(int(number))))
			if (err == nil) != accepted {
				t.Errorf("%s at %s: %v", name, host, err)
			}
			if err == nil {
				_ = c.Close()
			}
		}
	}
}

func TestBootstrap(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	change := func(c *edge.Config) {
		c.DataDir = filepath.Join(dir, "data")
		c.Bootstrap.Routes = []string{"a.test", "*.b.test"}
		c.Bootstrap.TokenFile, c.Bootstrap.TokenFileMode = filepath.Join(dir, "token"), "0640"
		c.Bootstrap.CAFile = filepath.Join(dir, "ca.pem")
	}
	var tokens []string
	for range 2 { // the second start finds everything there
		b := start(t, change)
		raw, err := os.ReadFile(filepath.Join(dir, "token"))
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, string(raw))
		if creds, err := credential.ParseToken(strings.TrimSpace(string(raw))); err != nil || creds.TunnelID != b.creds.TunnelID {
			t.Errorf("token file: %v", err)
		}
		if info, err := os.Stat(filepath.Join(dir, "token")); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("token file: %v, %v", info.Mode(), err)
		}
		ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
		own, err2 := os.ReadFile(b.CACertPath())
		if err != nil || err2 != nil || string(ca) != string(own) {
			t.Errorf("CA copy: %v, %v", err, err2)
		}
		if routes, err := b.admin.ListRoutes(t.Context()); err != nil || len(routes) != 2 {
			t.Errorf("routes: %v, %v", routes, err)
		}
		b.stop()
	}
	if tokens[0] != tokens[1] {
		t.Error("the token changed at the second start")
	}
}

func TestStartErrorsNameTheirPlace(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	taken := netip.MustParseAddrPort(strings.TrimPrefix(b.PublicURL(), "http://"))
	for want, change := range map[string]func(*edge.Config){
		"connectors: listen: empty":  func(c *edge.Config) { c.Connectors.Listen = nil },
		"public http listener":       func(c *edge.Config) { c.Public.HTTP = taken },
		"connector listener":         func(c *edge.Config) { c.Connectors.Listen = []netip.AddrPort{b.ConnectorAddrs()[0]} },
		"admin: token_file: empty":   func(c *edge.Config) { c.Admin.Listen = testkit.Loopback(0) },
		"another edge uses it":       func(c *edge.Config) { c.DataDir = filepath.Dir(b.AdminSocket()) },
		"public certificate":         func(c *edge.Config) { c.Public.CertFile, c.Public.KeyFile = "/nonexistent/c", "/nonexistent/k" },
		"bootstrap: route":           func(c *edge.Config) { c.Bootstrap.Routes = []string{"a b"} },
		"token_file_mode: not an":    func(c *edge.Config) { c.Bootstrap.TokenFileMode = "rw" },
		"domain \"..\" is not a dom": func(c *edge.Config) { c.DNS.Domain = "x..y" },
	} {
		cfg := testConfig(t)
		change(&cfg)
		svc, err := edge.New(cfg, edge.Deps{Logger: logger(), Registerer: prometheus.NewRegistry()})
		if err == nil {
			_ = svc.Close()
		}
		if err == nil || !strings.Contains(err.Error(), strings.Replace(want, `".."`, `"x..y"`, 1)) || strings.Contains(err.Error(), "\n") {
			t.Errorf("New = %v, want one line with %q", err, want)
		}
	}
}

func TestRoutesShowNoSecret(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	e := echo.New()
	b.Routes(e.Group("/v1"))
	for _, r := range e.Routes() {
		if r.Method != http.MethodGet || strings.Contains(r.Path, "credentials") {
			t.Errorf("%s %s is mounted", r.Method, r.Path)
		}
	}
	token := credential.Token(b.creds)
	list, err := b.admin.ListTunnels(t.Context())
	raw, _ := json.Marshal(list)
	if err != nil || strings.Contains(string(raw), token[:20]) {
		t.Errorf("the list shows a secret: %s, %v", raw, err)
	}
}

func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	cfg := edge.Default()
	if err := cfg.Validate(); err != nil {
		t.Errorf("Default: %v", err)
	}
	if err := (&edge.Config{}).Validate(); err == nil || strings.Count(err.Error(), "\n") < 5 {
		t.Errorf("an empty configuration: %v, want all problems at once", err)
	}
}

func credentialsOf(t *testing.T, token string) tunnel.Credentials {
	t.Helper()
	c, err := credential.ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
