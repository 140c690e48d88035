package edge_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
	"github.com/culvert-tunnel/culvert/services/edge/internal/certs"
)

// TestChangedFilesAreReadAgain replaces the token of the admin API and the edge's CA while the edge runs, and makes the process
// check its files, as SIGHUP does. Without SIGHUP the process checks them every few seconds.
func TestChangedFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	token, caCopy := filepath.Join(dir, "token"), filepath.Join(dir, "ca-copy.pem")
	write := func(path string, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const before, after = "0123456789abcdef-before", "0123456789abcdef-after"
	write(token, []byte(before))
	b := start(t, func(c *edge.Config) {
		c.Admin.Listen, c.Admin.TokenFile, c.Bootstrap.CAFile = testkit.Loopback(0), token, caCopy
	})
	list := func(secret string) error {
		c, err := adminclient.DialTLS("https://"+b.AdminAddr().String(), tunnel.Secret(secret), b.roots())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, err = c.ListTunnels(t.Context())
		return err
	}
	if err := list(before); err != nil {
		t.Fatalf("the first token: %v", err)
	}

	other := t.TempDir()
	if _, err := certs.Open(other, time.Now, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.pem", "ca-key.pem"} {
		content, err := os.ReadFile(filepath.Join(other, name))
		if err != nil {
			t.Fatal(err)
		}
		write(filepath.Join(filepath.Dir(b.CACertPath()), name), content)
	}
	write(token, []byte(after))
	b.files.Check()

	if err := list(after); err != nil { // over TLS with the new CA: b.roots reads the file
		t.Errorf("the new token: %v", err)
	}
	if err := list(before); err == nil {
		t.Error("the former token is still accepted")
	}
	want, err := os.ReadFile(b.CACertPath())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(caCopy); err != nil || !bytes.Equal(got, want) {
		t.Errorf("bootstrap.ca_file is not a copy of the new CA certificate: %v", err)
	}
}
