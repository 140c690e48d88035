//go:build system

package system_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// sshServer is an OpenSSH server with keys of its own.
type sshServer struct {
	addr, key, user string
}

// awaitTCP waits until a TCP port accepts connections.
func awaitTCP(t *testing.T, what, addr string) {
	t.Helper()
	testkit.Retry(t, what, patience, func() error {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

func startSSH(t *testing.T) *sshServer {
	t.Helper()
	sshd, keygen := harness.Installed(t, "sshd"), harness.Installed(t, "ssh-keygen")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	// When root runs sshd, it needs a directory that exists only while the package's own daemon runs.
	if privsep := "/run/sshd"; os.Getuid() == 0 {
		if err := os.Mkdir(privsep, 0o755); err == nil {
			t.Cleanup(func() { _ = os.Remove(privsep) })
		}
	}
	dir := t.TempDir()
	host, key := filepath.Join(dir, "host"), filepath.Join(dir, "key")
	for _, path := range []string{host, key} {
		output(t, nil, keygen, "-q", "-t", "ed25519", "-N", "", "-f", path)
	}
	s := &sshServer{addr: fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)), key: key, user: me.Username}
	conf := filepath.Join(dir, "sshd_config")
	text := fmt.Sprintf("Port %s\nListenAddress 127.0.0.1\nHostKey %s\nAuthorizedKeysFile %s.pub\nPidFile %s/pid\nUsePAM no\nStrictModes no\n"+
		"PermitRootLogin prohibit-password\nPasswordAuthentication no\nMaxStartups 100\n"+
		"Subsystem sftp internal-sftp\n", port(s.addr), host, key, dir)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Start(t, nil, sshd, "-D", "-e", "-f", conf)
	awaitTCP(t, "sshd", s.addr)
	return s
}

// options are those of ssh and scp.
func (s *sshServer) options(t *testing.T) []string {
	return []string{
		"-F", "none", "-i", s.key, "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR",
		"-o", "UserKnownHostsFile=" + filepath.Join(t.TempDir(), "known_hosts"),
	}
}

// postgresProgram finds a program of the newest PostgreSQL, which Debian keeps out of the path.
func postgresProgram(t *testing.T, name string) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(found) == 0 {
		return harness.Installed(t, name)
	}
	return found[len(found)-1]
}

// startPostgres makes a cluster of its own. PostgreSQL refuses to run as root, so that root runs it as the user postgres.
func startPostgres(t *testing.T) string {
	t.Helper()
	initdb, postgres := postgresProgram(t, "initdb"), postgresProgram(t, "postgres")
	dir, err := os.MkdirTemp("", "culvert-postgres-") //nolint:usetesting // other users cannot enter t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var as []string
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Skipf("no user postgres: %v", err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		as = []string{harness.Installed(t, "setpriv"), "--reuid", u.Uid, "--regid", u.Gid, "--clear-groups", "--reset-env"}
	}
	run := func(args ...string) (string, []string) {
		all := append(append([]string{}, as...), args...)
		return all[0], all[1:]
	}
	data := filepath.Join(dir, "data")
	path, args := run(initdb, "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync", "--no-locale")
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	path, args = run(postgres, "-D", data, "-h", "127.0.0.1", "-p", port(addr), "-k", dir, "-c", "fsync=off")
	harness.Start(t, nil, path, args...)
	awaitTCP(t, "postgres", addr)
	testkit.Retry(t, "postgres is ready", patience, func() error {
		_, errs, err := try(t, nil, harness.Installed(t, "psql"), "-h", "127.0.0.1", "-p", port(addr), "-U", "postgres", "-c", "select 1")
		if err != nil {
			return errors.New(errs)
		}
		return nil
	})
	return addr
}

func startRedis(t *testing.T) string {
	t.Helper()
	redis := harness.Installed(t, "redis-server")
	harness.Installed(t, "redis-cli")
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	harness.Start(t, nil, redis, "--port", port(addr), "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	awaitTCP(t, "redis", addr)
	return addr
}

func startIperf(t *testing.T) string {
	t.Helper()
	iperf := harness.Installed(t, "iperf3")
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	harness.Start(t, nil, iperf, "-s", "-B", "127.0.0.1", "-p", port(addr))
	awaitTCP(t, "iperf3", addr)
	return addr
}

// proxiedNginx responds with the visitor's address from the PROXY protocol header; it accepts both versions, and no
// connection without the header.
func proxiedNginx(t *testing.T) string {
	t.Helper()
	bin, dir, addr := harness.Installed(t, "nginx"), t.TempDir(), fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	conf := fmt.Sprintf(`
daemon off; worker_processes 1; pid %[1]s/pid; error_log stderr warn; user root;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server { listen %[2]s proxy_protocol; location / { return 200 "$proxy_protocol_addr:$proxy_protocol_port"; } }
}`, dir, addr)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Start(t, nil, bin, "-c", path, "-p", dir)
	awaitTCP(t, "nginx", addr)
	return addr
}

func fileSum(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}
