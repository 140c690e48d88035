//go:build dropin

package dropin_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// accessEdge is an edge with a public HTTPS side, and connectors of both kinds in turn with TCP services behind host names.
type accessEdge struct {
	*harness.Edge
	https, config string
}

func startAccessEdge(t *testing.T, services map[string]string) accessEdge {
	t.Helper()
	a := accessEdge{https: fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)), config: filepath.Join(t.TempDir(), "config.yml")}
	a.Edge = harness.StartEdge(t, "CULVERT_PUBLIC_HTTPS="+a.https)
	text := "ingress:\n"
	for host, service := range services {
		text += fmt.Sprintf("- hostname: %s\n  service: %s\n", host, service)
	}
	if err := os.WriteFile(a.config, []byte(text+"- service: http_status:404\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// roots makes a client trust the edge.
func (a accessEdge) roots() string { return "SSL_CERT_FILE=" + filepath.Join(a.Data, "ca.pem") }

// withEach runs f with each client against each connector.
func (a accessEdge) withEach(t *testing.T, f func(t *testing.T, client subject)) {
	each(t, func(t *testing.T, s subject) {
		s.connect(t, a.Edge, "--config", a.config, "--grace-period", "1s")
		each(t, func(t *testing.T, client subject) { f(t, client) })
	})
}

// echoService is a TCP service that sends back what it gets.
func echoService(t *testing.T) string {
	t.Helper()
	ln := testkit.ListenTCP(t)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	return ln.Addr().String()
}

// TestAccessTCP: a listener of `access tcp` carries connections to the service of a host name, and standard input goes there as well.
func TestAccessTCP(t *testing.T) {
	a := startAccessEdge(t, map[string]string{"tcp.example.com": "tcp://" + echoService(t)})
	a.withEach(t, func(t *testing.T, client subject) {
		addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
		client.run(t, []string{a.roots()}, "access", "tcp", "--hostname", "tcp.example.com", "--connect-to", a.https, "--url", "tcp://"+addr)
		var conn net.Conn
		testkit.Eventually(t, "the listener is open", func() (ok bool) {
			var err error
			conn, err = net.Dial("tcp", addr)
			return err == nil
		})
		defer conn.Close()
		payload := strings.Repeat("0123456789abcdef", 1<<16)
		go func() { _, _ = io.WriteString(conn, payload) }()
		got := make([]byte, len(payload))
		if n, err := io.ReadFull(conn, got); err != nil || string(got) != payload {
			t.Errorf("%d of %d bytes came back: %v", n, len(payload), err)
		}
		cmd := exec.CommandContext(t.Context(), client.path, "access", "rdp", "--hostname", "tcp.example.com", "--connect-to", a.https)
		cmd.Env = append(os.Environ(), a.roots())
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		reply := make([]byte, 5)
		if _, err := io.WriteString(in, "hello"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, reply); err != nil || string(reply) != "hello" {
			t.Errorf("%q, %v", reply, err)
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("end of standard input: %v", err)
		}
	})
}

// TestAccessSSH: ssh_config files have `ProxyCommand cloudflared access ssh --hostname %h`.
func TestAccessSSH(t *testing.T) {
	ssh, sshd, keygen := harness.Installed(t, "ssh"), harness.Installed(t, "sshd"), harness.Installed(t, "ssh-keygen")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if privsep := "/run/sshd"; os.Getuid() == 0 { // sshd of root needs a directory that exists only while the package's own daemon runs
		if err := os.Mkdir(privsep, 0o755); err == nil {
			t.Cleanup(func() { _ = os.Remove(privsep) })
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"host", "key"} {
		if out, err := exec.Command(keygen, "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, name)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	port := harness.FreePort(t)
	conf := filepath.Join(dir, "sshd_config")
	text := fmt.Sprintf("Port %d\nListenAddress 127.0.0.1\nHostKey %s/host\nAuthorizedKeysFile %s/key.pub\nPidFile %s/pid\nUsePAM no\n"+
		"StrictModes no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n", port, dir, dir, dir)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Start(t, nil, sshd, "-D", "-e", "-f", conf).Line(t, "Server listening on")
	a := startAccessEdge(t, map[string]string{"ssh.example.com": fmt.Sprintf("ssh://127.0.0.1:%d", port)})
	a.withEach(t, func(t *testing.T, client subject) {
		proxy := fmt.Sprintf("env %s %s access ssh --hostname %%h --connect-to %s", a.roots(), client.path, a.https)
		cmd := exec.CommandContext(t.Context(), ssh, "-F", "none", "-i", filepath.Join(dir, "key"), "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
			"-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR", "-o", "UserKnownHostsFile="+filepath.Join(t.TempDir(), "known"),
			"-o", "ProxyCommand="+proxy, me.Username+"@ssh.example.com", "echo through the tunnel; cat")
		payload := strings.Repeat("0123456789abcdef", 1<<15)
		cmd.Stdin = strings.NewReader(payload)
		out, err := cmd.Output()
		if err != nil || string(out) != "through the tunnel\n"+payload {
			t.Errorf("%v, %d bytes: %s", err, len(out), harness.Tail(string(out), 100))
		}
	})
}
