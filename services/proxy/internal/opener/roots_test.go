package opener

import (
	"crypto/x509"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/edgeroots"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

func service(t *testing.T, text string, change func(*ingress.OriginSpec)) (ingress.Service, ingress.OriginRequest) {
	t.Helper()
	rule := ingress.RuleSpec{Service: text}
	change(&rule.OriginRequest)
	set, err := ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{rule}})
	if err != nil {
		t.Fatal(err)
	}
	return set.Rules[0].Service, set.Rules[0].Origin
}

// TestHTTPSOriginsTrustTheEmbeddedRoots looks at the pool of an https origin, without and with a CA file of its own.
func TestHTTPSOriginsTrustTheEmbeddedRoots(t *testing.T) {
	ca := testkit.NewCA(t)
	file := ca.File(t)
	own := ca.Issue(t, "app.test").Leaf
	for _, text := range []string{"https://app.test", "wss://app.test", "unix+tls:/run/app.sock"} {
		for _, caPool := range []string{"", file} {
			svc, set := service(t, text, func(o *ingress.OriginSpec) { o.CAPool = &caPool })
			p := New(slog.New(slog.DiscardHandler), nil)
			pem, err := p.ReadCA(svc, set)
			if err != nil {
				t.Fatal(err)
			}
			o, err := p.Open(svc, set, pem)
			if err != nil {
				t.Fatal(err)
			}
			tr, ok := o.HTTP.Upgrades.(*http.Transport)
			if !ok {
				t.Fatalf("%s: upgrades run through %T", text, o.HTTP.Upgrades)
			}
			roots := tr.TLSClientConfig.RootCAs
			certs, err := edgeroots.Certificates()
			if err != nil || len(certs) == 0 {
				t.Fatal("no embedded certificates: ", err)
			}
			for _, c := range certs {
				if _, err := c.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
					t.Errorf("%s with CA file %q: %s is not trusted: %v", text, caPool, c.Subject, err)
				}
			}
			_, err = own.Verify(x509.VerifyOptions{Roots: roots})
			if (err == nil) != (caPool != "") {
				t.Errorf("%s with CA file %q: certificate of that CA: %v", text, caPool, err)
			}
		}
	}
}

// TestCAFilesAreBounded names what a pushed configuration may name to exhaust memory or to block.
func TestCAFilesAreBounded(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large.pem")
	if err := os.WriteFile(large, make([]byte, maxCAFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	p := New(slog.New(slog.DiscardHandler), nil)
	for path, want := range map[string]string{
		"/dev/zero": "not a regular file", t.TempDir(): "not a regular file", large: "too large", "/does/not/exist": "no such file",
	} {
		svc, set := service(t, "https://app.test", func(o *ingress.OriginSpec) { o.CAPool = &path })
		if _, err := p.ReadCA(svc, set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
		svc, set = service(t, "tcp://app.test:1", func(o *ingress.OriginSpec) { o.CAPool = &path })
		if pem, err := p.ReadCA(svc, set); err != nil || pem != nil {
			t.Errorf("%s of a service without TLS: %v", path, err)
		}
	}
}
