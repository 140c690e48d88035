package certs_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/services/edge/internal/certs"
)

// clock is a settable time source.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())) }

func open(t *testing.T, dir string, c *clock) *certs.Authority {
	t.Helper()
	a, err := certs.Open(dir, c.now, nil)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return a
}

func TestAuthorityIsMadeOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := open(t, dir, &clock{})
	first, err := os.ReadFile(a.Path())
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, dir, &clock{})
	second, err := os.ReadFile(b.Path())
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("the root changed on the second start (%v)", err)
	}
	info, err := os.Stat(filepath.Join(dir, "ca-key.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: mode %v, %v; want 0600", info.Mode(), err)
	}
	if err := os.Remove(a.Path()); err != nil {
		t.Fatal(err)
	}
	if _, err := certs.Open(dir, time.Now, nil); err == nil {
		t.Error("a key without its certificate was silently replaced")
	}
}

func TestLeaves(t *testing.T) {
	t.Parallel()
	var c clock
	a := open(t, t.TempDir(), &c)
	cfg, err := a.ConnectorTLS()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := cfg.GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"quic.cftunnel.com", "h2.cftunnel.com", "probe.cftunnel.com"} {
		if _, err := leaf.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: a.Pool()}); err != nil {
			t.Errorf("leaf for %s: %v", name, err)
		}
	}
	if again, _ := cfg.GetCertificate(&tls.ClientHelloInfo{}); again != leaf {
		t.Error("a fresh leaf was issued again")
	}
	c.offset.Store(int64(70 * 24 * time.Hour))
	if again, _ := cfg.GetCertificate(&tls.ClientHelloInfo{}); again == leaf {
		t.Error("an old leaf was not renewed")
	}
}

func TestPublicNames(t *testing.T) {
	t.Parallel()
	a := open(t, t.TempDir(), &clock{})
	cfg := a.PublicTLS([]string{"edge.test"}, func(host string) (string, bool) {
		switch {
		case host == "app.example.com":
			return host, true
		case strings.HasSuffix(host, ".example.com"):
			return "*.example.com", true
		default:
			return "", false
		}
	})
	for name, valid := range map[string]string{
		"app.example.com": "app.example.com",
		"x.example.com":   "x.example.com",
		"a.b.example.com": "a.b.example.com",
		"unknown.test":    "localhost",
		"edge.test":       "edge.test",
		"":                "127.0.0.1",
	} {
		leaf, err := cfg.GetCertificate(&tls.ClientHelloInfo{ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := leaf.Leaf.Verify(x509.VerifyOptions{DNSName: valid, Roots: a.Pool()}); err != nil {
			t.Errorf("server name %q: %v", name, err)
		}
	}
}

func TestExpiredAuthority(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var c clock
	open(t, dir, &c)
	c.offset.Store(int64(11 * 365 * 24 * time.Hour))
	if _, err := certs.Open(dir, c.now, nil); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("Open of an expired authority = %v", err)
	}
}

func TestFilesAreReadAgainAsAPair(t *testing.T) {
	t.Parallel()
	ca := testkit.NewCA(t)
	dir := t.TempDir()
	first, second := ca.Issue(t, "one.test"), ca.Issue(t, "two.test")
	certFile, keyFile := testkit.WriteCertificate(t, dir, first)
	var faults int
	w := filewatch.New(func(e filewatch.Event) {
		if e.Err != nil {
			faults++
		}
	})
	cfg, err := certs.FileTLS(w, certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	want := func(what string, pair tls.Certificate) {
		t.Helper()
		w.Check()
		got, err := cfg.GetCertificate(&tls.ClientHelloInfo{})
		if err != nil || !bytes.Equal(got.Certificate[0], pair.Certificate[0]) {
			t.Errorf("%s: wrong certificate (%v)", what, err)
		}
	}
	want("at the start", first)
	key, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	testkit.WriteCertificate(t, dir, second)
	newKey, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		t.Fatal(err)
	}
	if want("with the new certificate and the old key", first); faults != 1 {
		t.Errorf("%d faults reported, want 1", faults)
	}
	if err := os.WriteFile(keyFile, newKey, 0o600); err != nil {
		t.Fatal(err)
	}
	want("with the new pair", second)
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	want("without the file", second)
}

func TestReplacedAuthorityIsUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var faults []error
	w := filewatch.New(func(e filewatch.Event) { faults = append(faults, e.Err) })
	a, err := certs.Open(dir, time.Now, w)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Leaf("app.test"); err != nil {
		t.Fatal(err)
	}
	other := open(t, t.TempDir(), &clock{})
	copyFile := func(name string) {
		content, err := os.ReadFile(filepath.Join(filepath.Dir(other.Path()), name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	former := a.Pool()
	copyFile("ca.pem")
	w.Check()
	if len(faults) != 1 || faults[0] == nil || !a.Pool().Equal(former) {
		t.Fatalf("a certificate without its key: events %v, former in use %v", faults, a.Pool().Equal(former))
	}
	copyFile("ca-key.pem")
	w.Check()
	if len(faults) != 2 || faults[1] != nil || !a.Pool().Equal(other.Pool()) {
		t.Fatalf("the whole pair: events %v, new in use %v", faults, a.Pool().Equal(other.Pool()))
	}
	leaf, err := a.Leaf("app.test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leaf.Leaf.Verify(x509.VerifyOptions{DNSName: "app.test", Roots: other.Pool()}); err != nil {
		t.Errorf("a leaf after the change: %v", err)
	}
}
