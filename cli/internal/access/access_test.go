package access_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/access"
	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// app runs an echoing application, and returns the value of --connect-to for it and the headers of its requests.
func app(t *testing.T) (connectTo string, seen chan http.Header) {
	t.Helper()
	seen = make(chan http.Header, 8)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "ssh.example.com" {
			http.Redirect(w, r, "https://team.example.com/cdn-cgi/access/login/x", http.StatusFound)
			return
		}
		seen <- r.Header
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		stream := websocket.NetConn(r.Context(), conn, websocket.MessageBinary)
		_, _ = io.Copy(stream, stream)
	}))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return "ssh.example.com:" + port + ":127.0.0.1", seen
}

func run(ctx context.Context, host process.Host, args ...string) error {
	cmd := urfave.NewApp()
	cmd.ExitErrHandler = func(*urfave.Context, error) {}
	cmd.Commands = []*urfave.Command{access.Command(console.Console{Host: host})}
	return cmd.RunContext(ctx, append([]string{"culvert", "access"}, args...))
}

func TestStandardInputAndOutput(t *testing.T) {
	to, seen := app(t)
	in, feed := io.Pipe()
	result, out := io.Pipe()
	var log bytes.Buffer
	done := make(chan error, 1)
	go func() {
		done <- run(t.Context(), process.Host{
			Stdin: in, Stdout: out, Stderr: &log, Environ: []string{"TUNNEL_SERVICE_HOSTNAME=ssh.example.com", "TUNNEL_SERVICE_TOKEN_SECRET=s3"},
		}, "ssh", "--connect-to", to, "--id", "me", "-H", "X-One: 1", "--destination", "10.0.0.5:22")
	}()
	buf := make([]byte, 5)
	if _, err := feed.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(result, buf); err != nil || string(buf) != "hello" {
		t.Fatalf("%q, %v", buf, err)
	}
	header := testkit.Receive(t, "a request", seen)
	for name, want := range map[string]string{
		"Cf-Access-Client-Id": "me", "Cf-Access-Client-Secret": "s3", "X-One": "1", "Cf-Access-Jump-Destination": "10.0.0.5:22",
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if err := feed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := testkit.Receive(t, "the end of the command", done); err != nil {
		t.Error(err)
	}
}

func TestListener(t *testing.T) {
	to, _ := app(t)
	addr := testkit.FreeTCP(t).String()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, process.Host{Stdout: io.Discard, Stderr: io.Discard}, "tcp", "--hostname", "ssh.example.com", "--connect-to", to,
			"--url", "tcp://"+addr)
	}()
	var conn net.Conn
	testkit.Eventually(t, "the listener is open", func() (ok bool) {
		var d net.Dialer
		var err error
		conn, err = d.DialContext(ctx, "tcp", addr)
		return err == nil
	})
	defer conn.Close()
	payload := strings.Repeat("0123456789", 20000)
	go func() { _, _ = io.WriteString(conn, payload) }()
	got := make([]byte, len(payload))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != payload {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	cancel()
	if err := testkit.Receive(t, "the end of the command", done); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	to, _ := app(t)
	for want, args := range map[string][]string{
		"use --hostname":                  {"tcp"},
		"asks for a login":                {"rdp", "--hostname", "other.example.com", "--connect-to", to},
		"connection refused":              {"smb", "--hostname", "127.0.0.1:1"},
		"is not HOST:PORT":                {"tcp", "--hostname", "ssh.example.com", "--url", "nowhere"},
		"is a command for an account":     {"login", "--quiet", "https://a.example.com"},
		`unknown command "fly"`:           {"fly"},
		"none of HOST, HOST:PORT, SNI":    {"tcp", "--hostname", "a", "--connect-to", "a:b:c:d"},
		"short-lived certificates need":   {"ssh-config", "--short-lived-cert"},
		`unknown flag --bogus`:            {"ssh", "--bogus"},
		`unexpected argument "127.0.0.1"`: {"tcp", "--hostname", "a", "localhost:1", "127.0.0.1"},
	} {
		err := run(t.Context(), process.Host{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard}, args...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", args, err, want)
		}
	}
}

func TestSSHConfig(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), process.Host{Stdout: &out}, "ssh-config", "--hostname", "ssh.example.com"); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.Contains(text, "Host ssh.example.com\n  ProxyCommand culvert access ssh --hostname %h\n") {
		t.Errorf("%s", text)
	}
}
