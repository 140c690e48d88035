package link_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/link"
)

func TestParseEndpoint(t *testing.T) {
	for in, ok := range map[string]bool{
		"unix:/run/culvert/proxy.sock": true,
		"tcp:10.0.0.1:7000":            true,
		"tcp:proxy:7000":               true,
		"tcp:[::1]:7000":               true,
		"":                             false,
		"unix:":                        false,
		"tcp:host":                     false,
		"udp:host:1":                   false,
		"/run/sock":                    false,
	} {
		e, err := link.ParseEndpoint(in)
		if (err == nil) != ok {
			t.Errorf("ParseEndpoint(%q) = %v", in, err)
		}
		if ok && e.String() != in {
			t.Errorf("ParseEndpoint(%q) = %q", in, e)
		}
	}
}

func FuzzParseEndpoint(f *testing.F) {
	f.Add("unix:/a")
	f.Add("tcp:a:1")
	f.Fuzz(func(t *testing.T, s string) {
		e, err := link.ParseEndpoint(s)
		if err == nil && e.String() != s {
			t.Errorf("ParseEndpoint(%q) = %q", s, e)
		}
	})
}

func TestListenUnix(t *testing.T) {
	e, err := link.ParseEndpoint(unixEndpoint(t))
	if err != nil {
		t.Fatal(err)
	}
	l, err := e.Listen(nil)
	if err != nil {
		t.Fatal(err)
	}
	path := l.Addr().String()
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket mode = %v, %v, want 0600", st.Mode(), err)
	}
	if second, err := e.Listen(nil); err == nil {
		_ = second.Close()
		t.Error("a socket in use was taken over")
	}
	// A process that was killed leaves the file.
	hidden := path + ".moved"
	if err := os.Rename(path, hidden); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(hidden, path); err != nil {
		t.Fatal(err)
	}
	l, err = e.Listen(nil)
	if err != nil {
		t.Fatalf("a stale socket was not replaced: %v", err)
	}
	_ = l.Close()
}

func TestCertificates(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	if err := link.WriteTLS(dir); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(link.FilesIn(dir).Key); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("key mode = %v, %v, want 0600", st.Mode(), err)
	}
	if err := link.WriteTLS(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second WriteTLS = %v, want ErrExist", err)
	}
	if _, _, err := link.LoadTLS(t.TempDir(), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("LoadTLS of nothing = %v, want ErrNotExist", err)
	}
}

// TestForeignCertificate: both ends refuse a peer of another authority.
func TestForeignCertificate(t *testing.T) {
	server, _ := certificates(t)
	_, foreign := certificates(t)
	e := serve(t, "tcp:127.0.0.1:0", server, link.ServerConfig{Handler: name("secret")})
	c := balancer(t, foreign, e)
	if got, err := exchange(t, c, "q"); !errors.Is(err, link.ErrNotAccepted) || got != "" {
		t.Errorf("with a foreign authority: %q, %v, want ErrNotAccepted", got, err)
	}
	half := foreign.Clone()
	half.InsecureSkipVerify = true
	if got, err := exchange(t, balancer(t, half, e), "q"); !errors.Is(err, link.ErrNotAccepted) || got != "" {
		t.Errorf("with a foreign certificate: %q, %v, want ErrNotAccepted", got, err)
	}
}
