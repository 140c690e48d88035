package link_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/link"
)

// TestCertificatesAreReadAgain replaces the certificates of both ends while they run. Until the last of the three files is in place,
// and while they do not fit together, the former ones stay in use.
func TestCertificatesAreReadAgain(t *testing.T) {
	var faults int
	files := filewatch.New(func(e filewatch.Event) {
		if e.Err != nil {
			faults++
		}
	})
	first, second := t.TempDir(), t.TempDir()
	for _, dir := range []string{first, second} {
		if err := link.WriteTLS(dir); err != nil {
			t.Fatalf("WriteTLS: %v", err)
		}
	}
	used := t.TempDir()
	replace := func(from string, names ...string) {
		for _, name := range names {
			b, err := os.ReadFile(filepath.Join(from, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(used, name), b, 0o600)
			}
			if err != nil {
				t.Fatalf("replace %s: %v", name, err)
			}
		}
		files.Check()
	}
	replace(first, "ca.pem", "link.pem", "link-key.pem")
	server, client, err := link.LoadTLS(used, files)
	if err != nil {
		t.Fatalf("LoadTLS: %v", err)
	}
	_, secondClient, err := link.LoadTLS(second, nil)
	if err != nil {
		t.Fatalf("LoadTLS of the new files: %v", err)
	}
	e := serve(t, "tcp:127.0.0.1:0", server, link.ServerConfig{Handler: name("p")})
	asks := func(what string, current, replaced bool) {
		t.Helper()
		if _, err := exchange(t, balancer(t, client(), e), "q"); (err == nil) != current {
			t.Errorf("%s: with the certificates in use: %v, want accepted: %v", what, err, current)
		}
		_, err := exchange(t, balancer(t, secondClient(), e), "q")
		if (err == nil) != replaced || (err != nil && !errors.Is(err, link.ErrNotAccepted)) {
			t.Errorf("%s: with the new certificates: %v, want accepted: %v", what, err, replaced)
		}
	}
	asks("before", true, false)
	replace(second, "link.pem")
	replace(second, "link-key.pem")
	asks("without the new authority", true, false)
	if faults != 2 {
		t.Errorf("%d faults reported, want one for each half of the replacement", faults)
	}
	replace(second, "ca.pem")
	asks("after", true, true)
}
