package push

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/link"
)

func listenUnix(t *testing.T, path string) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
}

// A record in the store must not lead a worker to an endpoint that the link cannot authenticate.
func TestTrust(t *testing.T) {
	trusted, other := t.TempDir(), t.TempDir()
	listenUnix(t, filepath.Join(trusted, "p.sock"))
	listenUnix(t, filepath.Join(other, "p.sock"))
	if err := os.Symlink(filepath.Join(other, "p.sock"), filepath.Join(trusted, "link.sock")); err != nil {
		t.Fatal(err)
	}
	unix := func(elem ...string) string { return "unix:" + filepath.Join(elem...) }
	for _, c := range []struct {
		name, endpoint string
		trust          Trust
		want           error
	}{
		{"tcp with TLS", "tcp:192.0.2.1:7900", Trust{TLS: true}, nil},
		{"tcp without TLS", "tcp:192.0.2.1:7900", Trust{SocketDir: trusted}, errPlainTCP},
		{"tcp without TLS on loopback", "tcp:127.0.0.1:7900", Trust{SocketDir: trusted}, errPlainTCP},
		{"unix in the directory", unix(trusted, "p.sock"), Trust{SocketDir: trusted}, nil},
		{"unix in another directory", unix(other, "p.sock"), Trust{SocketDir: trusted}, errOutside},
		{"unix with dots", "unix:" + trusted + "/../" + filepath.Base(other) + "/p.sock", Trust{SocketDir: trusted}, errOutside},
		{"unix through a symbolic link", unix(trusted, "link.sock"), Trust{SocketDir: trusted}, errOutside},
		{"unix without a directory", unix(trusted, "p.sock"), Trust{TLS: true}, errOutside},
		{"unix relative", "unix:p.sock", Trust{SocketDir: trusted}, errOutside},
		{"unix abstract", "unix:@p", Trust{SocketDir: trusted}, errOutside},
		{"unix of another host", unix(trusted, "away.sock"), Trust{SocketDir: trusted}, errOtherHost},
		{"nothing", "", Trust{TLS: true, SocketDir: trusted}, errNoEndpoint},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e link.Endpoint
			if err := e.UnmarshalText([]byte(c.endpoint)); err != nil {
				t.Fatal(err)
			}
			if err := c.trust.Check(e); !errors.Is(err, c.want) {
				t.Errorf("Check(%s) = %v, want %v", c.endpoint, err, c.want)
			}
		})
	}
	s := Selector{Trust: Trust{SocketDir: trusted}, Logger: slog.New(slog.DiscardHandler)}
	got := s.Select(t.Context(), []fleet.Proxy{
		{ID: "plain", Endpoint: "tcp:127.0.0.1:7900"}, {ID: "good", Endpoint: unix(trusted, "p.sock")}, {ID: "none", Endpoint: "x"},
	})
	if len(got) != 1 || got[0].ID != "good" {
		t.Errorf("Select = %v", got)
	}
}
