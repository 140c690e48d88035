package connworker

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/keeper"
)

func creds(n byte) tunnel.Credentials {
	return tunnel.Credentials{AccountTag: "tag", Secret: tunnel.Secret("0123456789abcdef0123456789abcdef"), TunnelID: tunnel.ID{n}}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCredentialSources(t *testing.T) {
	token := write(t, "token", credential.Token(creds(1))+"\n")
	file := write(t, "creds.json", string(credential.File(creds(2))))
	other := write(t, "other", credential.Token(creds(3)))
	cfg := CredentialsConfig{
		Token: tunnel.Secret(credential.Token(creds(4))), TokenFile: token, File: file, Files: []string{other, token},
	}
	got, err := cfg.load(nil, nil, keeper.Credentials{Credentials: creds(5)}, keeper.Credentials{Credentials: creds(4), FromToken: true})
	if err != nil {
		t.Fatal(err)
	}
	var ids, tokens []byte
	for _, c := range got {
		ids = append(ids, c.TunnelID[0])
		if c.FromToken {
			tokens = append(tokens, c.TunnelID[0])
		}
	}
	if want := []byte{5, 4, 1, 2, 3}; !slices.Equal(ids, want) {
		t.Errorf("tunnels %v, want %v", ids, want)
	}
	if want := []byte{4, 1, 3}; !slices.Equal(tokens, want) {
		t.Errorf("tokens for %v, want %v", tokens, want)
	}
}

func TestCredentialProblemsShowNoSecret(t *testing.T) {
	bad := write(t, "bad", "c2VjcmV0LXRleHQ=")
	broken := write(t, "broken.json", `{"TunnelSecret":"c2VjcmV0`)
	cfg := CredentialsConfig{Token: tunnel.Secret("secret-text"), TokenFile: bad, File: broken, Files: []string{"/nonexistent"}}
	_, err := cfg.load(nil, nil)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{"credentials: token:", "credentials: token_file:", "credentials: file:", "credentials: files:"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
	if strings.Contains(err.Error(), "secret-text") || strings.Contains(err.Error(), "c2VjcmV0") {
		t.Errorf("a secret is shown: %v", err)
	}
	if _, err := New(Default(), Deps{Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "none given") {
		t.Errorf("without credentials: %v", err)
	}
}

func TestValidateReportsEverything(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	bad := Config{
		GracePeriod: time.Hour,
		Edge:        EdgeConfig{BindAddress: "localhost", IPVersion: "5", Protocol: "h3", Connections: 999, Retries: -1},
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{
		"capacity:", "grace_period:", "rpc_timeout:", "bind_address:", "ip_version:", "protocol:", "connections:",
		"retries:", "return_after:", "quic:",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
}

func TestRootsAndLinkFiles(t *testing.T) {
	cfg := Default()
	deps := Deps{Logger: slog.New(slog.DiscardHandler), Credentials: []tunnel.Credentials{creds(1)}}
	cfg.Edge.CACert = write(t, "empty.pem", "nothing")
	if _, err := New(cfg, deps); err == nil || !strings.Contains(err.Error(), "holds no certificate") {
		t.Errorf("got %v", err)
	}
	cfg.Edge.CACert = "/nonexistent"
	if _, err := New(cfg, deps); err == nil {
		t.Error("a missing file was accepted")
	}
	cfg.Edge.CACert = ""
	cfg.Link.TLSDir = t.TempDir()
	if _, err := New(cfg, deps); err == nil || !strings.Contains(err.Error(), "tls_dir") {
		t.Errorf("got %v", err)
	}
}

func TestBindAddressDecidesTheFamily(t *testing.T) {
	ip, family := EdgeConfig{BindAddress: "::1", IPVersion: "4"}.local()
	if ip.String() != "::1" || family != edgepool.V6 {
		t.Errorf("%v %v", ip, family)
	}
	if ip, family = (EdgeConfig{IPVersion: "4"}).local(); ip.IsValid() || family != edgepool.V4 {
		t.Errorf("%v %v", ip, family)
	}
}

// TestCredentialFilesAreReadAgain: what a file holds now is passed on; a file that cannot be read changes nothing.
func TestCredentialFilesAreReadAgain(t *testing.T) {
	token := write(t, "token", credential.Token(creds(1))+"\n")
	file := write(t, "creds.json", string(credential.File(creds(2))))
	var faults int
	files := filewatch.New(func(e filewatch.Event) {
		if e.Err != nil {
			faults++
		}
	})
	var got []tunnel.Credentials
	changed := func(c tunnel.Credentials) error {
		got = append(got, c)
		return nil
	}
	if _, err := (CredentialsConfig{TokenFile: token, File: file}).load(files, changed); err != nil {
		t.Fatalf("load: %v", err)
	}
	first, second := creds(1), creds(2)
	first.Secret, second.Secret = tunnel.Secret(strings.Repeat("x", 32)), tunnel.Secret(strings.Repeat("y", 32))
	for path, text := range map[string]string{token: credential.Token(first), file: string(credential.File(second))} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatalf("replace %s: %v", path, err)
		}
	}
	files.Check()
	slices.SortFunc(got, func(a, b tunnel.Credentials) int { return int(a.TunnelID[0]) - int(b.TunnelID[0]) })
	if len(got) != 2 || string(got[0].Secret) != string(first.Secret) || string(got[1].Secret) != string(second.Secret) {
		t.Errorf("%d credentials passed on, want the two new ones", len(got))
	}
	if err := os.WriteFile(token, []byte("broken"), 0o600); err != nil {
		t.Fatalf("replace %s: %v", token, err)
	}
	files.Check()
	if len(got) != 2 || faults != 1 {
		t.Errorf("after a broken file: %d credentials passed on and %d faults, want 2 and 1", len(got), faults)
	}
}
