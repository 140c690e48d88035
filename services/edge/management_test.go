package edge_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/management"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge"
)

// tell responds with a name, the path, and the key that came as metadata.
func tell(name string) script {
	return func(_ *peer, req *stream.Request, _ io.Reader, st transport.Stream) {
		key, _ := stream.Lookup(req.Metadata, stream.KeyManagement)
		respond(st, "200")
		_, _ = io.WriteString(st, name+" "+key)
		end(st)
	}
}

// askManagement sends a request for the management host.
func (b *bench) askManagement(target string, header ...string) (status int, body string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.PublicURL()+target, http.NoBody)
	if err != nil {
		b.t.Fatal(err)
	}
	req.Host = management.Host
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func (b *bench) managementToken(ref, resource string) string {
	b.t.Helper()
	made, err := b.admin.ManagementToken(b.t.Context(), ref, resource, "me")
	if err != nil {
		b.t.Fatal(err)
	}
	if made.Host != management.Host || len(made.URLs) != 2 || made.URLs[0] != b.PublicTLSURL() || made.URLs[1] != b.PublicURL() {
		b.t.Errorf("token document %+v", made)
	}
	return made.Token
}

// The token names the tunnel; no route does, not even the catch-all of the bench.
func TestManagementHostGoesByItsToken(t *testing.T) {
	b := start(t, nil)
	other, err := b.admin.CreateTunnel(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	b.connect(0, 0, tell("ours"), protocol.FeatureUpgrades)
	logs, admin := b.managementToken("demo", "logs"), b.managementToken("demo", "admin")
	forged := logs[:len(logs)-8] + "AAAAAAAA"
	for name, tc := range map[string]struct {
		target string
		status int
		body   string
	}{
		"no token":          {"/ping", 400, "missing access_token query parameter"},
		"forged":            {"/ping?access_token=" + forged, 400, "not valid at this edge"},
		"ping":              {"/ping?access_token=" + logs, 200, "ours "},
		"logs":              {"/logs?access_token=" + logs, 200, "ours "},
		"metrics with logs": {"/metrics?access_token=" + logs, 400, "another resource"},
		"metrics":           {"/metrics?access_token=" + admin, 200, "ours "},
		"other tunnel":      {"/ping?access_token=" + b.managementToken("other", "logs"), 530, "no such connector"},
		"its connector":     {"/ping?connector_id=" + (tunnel.ConnectorID{7}).String() + "&access_token=" + logs, 200, "ours "},
		"other connector":   {"/ping?connector_id=" + (tunnel.ConnectorID{8}).String() + "&access_token=" + logs, 530, "no such connector"},
		"bad connector":     {"/ping?connector_id=x&access_token=" + logs, 400, "connector_id is not"},
	} {
		if status, body := b.askManagement(tc.target); status != tc.status || !strings.Contains(body, tc.body) {
			t.Errorf("%s: %d %q, want %d and %q", name, status, body, tc.status, tc.body)
		}
	}
	if _, err := b.admin.ManagementToken(t.Context(), other.Tunnel.ID.String(), "everything", ""); err == nil {
		t.Error("a token for an unknown resource")
	}
}

// The key lets a connector of ours check the token, and reaches no other one. A visitor cannot send it.
func TestManagementKeyReachesOwnConnectors(t *testing.T) {
	b := start(t, nil)
	token := b.managementToken("demo", "logs")
	p := b.connect(0, 0, tell("ours"), protocol.FeatureUpgrades)
	_, body := b.askManagement("/ping?access_token="+token, "Culvert-Management", "forged")
	key, err := management.ParseKey(strings.TrimPrefix(body, "ours "))
	if err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	claims, err := management.CheckSignature(token, key)
	if err != nil || claims.Actor.ID != "me" || claims.Tunnel.ID != b.creds.TunnelID.String() {
		t.Errorf("claims %+v, %v", claims, err)
	}
	p.close()
	b.connect(1, 1, tell("another"))
	if _, body := b.askManagement("/ping?access_token=" + token); body != "another " {
		t.Errorf("a connector of another kind was sent %q", body)
	}
}

func TestManagementKeyStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "edge")
	same := func(c *edge.Config) { c.DataDir, c.ManagementHostname = dir, "Logs.Example.com." }
	b := start(t, same)
	token := b.managementToken("demo", "logs")
	b.stop()
	info, err := os.Stat(filepath.Join(dir, "management-key.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
	b = start(t, same)
	b.connect(0, 0, tell("ours"))
	if status, body := b.askManagement("/ping?access_token=" + token); status != http.StatusOK {
		t.Errorf("after a restart: %d %q", status, body)
	}
	conf := &tls.Config{RootCAs: b.roots(), ServerName: "logs.example.com"}
	conn, err := tls.Dial("tcp", strings.TrimPrefix(b.PublicTLSURL(), "https://"), conf)
	if err != nil {
		t.Fatalf("the certificate for the management host: %v", err)
	}
	_ = conn.Close()
}
