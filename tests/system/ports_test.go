//go:build system

package system_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// daemons are real servers, each with its own configuration and on a free port.
type daemons struct {
	ssh                               *sshServer
	postgres, redis, dns, iperf, sums string
	nginx                             map[string]string // by version of the PROXY protocol
}

// config is the config.yml of a connector: the servers that are also reached by a rule.
func (d *daemons) config(form) string {
	var b strings.Builder
	b.WriteString("ingress:\n")
	for host, service := range map[string]string{
		"ssh.test": "ssh://" + d.ssh.addr, "sql.test": "tcp://" + d.postgres, "redis.test": "tcp://" + d.redis, "sums.test": "tcp://" + d.sums,
	} {
		fmt.Fprintf(&b, "  - hostname: %s\n    service: %s\n", host, service)
	}
	b.WriteString("  - service: http_status:404\n")
	return b.String()
}

// TestRealProgramsThroughPorts runs common clients against common servers through public ports of the edge, in every form of
// the connector, over both transports.
func TestRealProgramsThroughPorts(t *testing.T) {
	s := &daemons{
		ssh: startSSH(t), postgres: startPostgres(t), redis: startRedis(t), dns: dnsServer(t), iperf: startIperf(t),
		sums: checksumServer(t), nginx: map[string]string{"v1": proxiedNginx(t), "v2": proxiedNginx(t)},
	}
	for _, f := range []form{oneProcess, split, stock} {
		for _, protocol := range []string{"quic", "http2"} {
			t.Run(string(f)+"/"+protocol, func(t *testing.T) {
				if f == stock && os.Getenv(harness.PeerVariable) == "" {
					t.Skipf("%s is not set to the path of a cloudflared binary", harness.PeerVariable)
				}
				d := deployConfig(t, f, protocol, s.config(f))
				for _, way := range []string{"to", "host"} {
					t.Run("ssh by "+way, func(t *testing.T) { s.ssh.through(t, d.open(t, way, s.ssh.addr, "ssh.test")) })
					t.Run("psql by "+way, func(t *testing.T) { sqlThrough(t, d.open(t, way, s.postgres, "sql.test")) })
					t.Run("redis-cli by "+way, func(t *testing.T) { redisThrough(t, d.open(t, way, s.redis, "redis.test")) })
					t.Run("nc -N by "+way, func(t *testing.T) { d.halfCloseThrough(t, d.open(t, way, s.sums, "sums.test")) })
				}
				t.Run("dig", func(t *testing.T) { d.digThrough(t, s.dns) })
				t.Run("iperf3", func(t *testing.T) { d.iperfThrough(t, s.iperf) })
				for version, addr := range s.nginx {
					t.Run("curl to nginx, PROXY protocol "+version, func(t *testing.T) {
						proxyProtocolThrough(t, d.publish(t, "tcp", "--to", addr, "--proxy-protocol", version))
					})
				}
			})
		}
	}
}

// open publishes a server by its address or by its rule.
func (d *deployment) open(t *testing.T, way, addr, host string) string {
	t.Helper()
	if way == "host" {
		return d.publish(t, "tcp", "--host", host)
	}
	return d.publish(t, "tcp", "--to", addr)
}

func port(addr string) string {
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		return err.Error()
	}
	return p
}

// output runs a program with the given input and returns its output.
func output(t *testing.T, input io.Reader, path string, args ...string) string {
	t.Helper()
	out, errs, err := try(t, input, path, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", path, strings.Join(args, " "), err, harness.Tail(errs, 2000))
	}
	return out
}

func try(t *testing.T, input io.Reader, path string, args ...string) (out, errs string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

// through logs in, runs commands, and copies a file both ways.
func (s *sshServer) through(t *testing.T, addr string) {
	ssh, scp := harness.Installed(t, "ssh"), harness.Installed(t, "scp")
	opts := s.options(t)
	login := append(append([]string{}, opts...), "-p", port(addr), s.user+"@127.0.0.1")
	if got := output(
		t,
		strings.NewReader("hello"),
		ssh,
		append(login, "cat; echo; echo $SSH_CONNECTION")...); !strings.HasPrefix(
		got,
		"hello\n127.0.0.1 ",
	) {
		t.Errorf("ssh: %q", got)
	}
	var ee *exec.ExitError
	if _, errs, err := try(t, nil, ssh, append(login, "exit 7")...); !errors.As(err, &ee) || ee.ExitCode() != 7 {
		t.Errorf("ssh exit 7: %v\n%s", err, errs)
	}
	dir := t.TempDir()
	here, there, back := filepath.Join(dir, "here"), filepath.Join(dir, "there"), filepath.Join(dir, "back")
	want := writeRandom(t, here, 64<<20, 3)
	copyFile := append(append([]string{"-q"}, opts...), "-P", port(addr))
	output(t, nil, scp, append(copyFile, here, s.user+"@127.0.0.1:"+there)...)
	output(t, nil, scp, append(copyFile, s.user+"@127.0.0.1:"+there, back)...)
	for _, file := range []string{there, back} {
		if got := fileSum(t, file); got != want {
			t.Errorf("scp: %s has the checksum %s, want %s", filepath.Base(file), got, want)
		}
	}
}

// sqlThrough runs queries with small and large results.
func sqlThrough(t *testing.T, addr string) {
	psql := harness.Installed(t, "psql")
	args := []string{"-h", "127.0.0.1", "-p", port(addr), "-U", "postgres", "-X", "-At", "-v", "ON_ERROR_STOP=1"}
	if got := output(t, nil, psql, append(args, "-c", "select sum(n) from generate_series(1, 100000) n")...); got != "5000050000\n" {
		t.Errorf("sum: %q", got)
	}
	var rows strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&rows, "%d\tsome text in row %d\n", i, i)
	}
	table := "t" + port(addr)
	load := fmt.Sprintf("create table %s (n int primary key, s text);\n\\copy %s from stdin\n%s\\.\n", table, table, rows.String())
	output(t, strings.NewReader(load), psql, append(args, "-q")...)
	got := output(t, nil, psql, append(args, "-c", fmt.Sprintf("copy (select * from %s order by n) to stdout", table))...)
	if got != rows.String() {
		t.Errorf("%d bytes came back of %d", len(got), rows.Len())
	}
	_, errs, err := try(t, nil, psql, append(args, "-c", "select 1/0")...)
	if err == nil || !strings.Contains(errs, "division by zero") {
		t.Errorf("a server's error: %v, %q", err, errs)
	}
}

// redisThrough stores and reads values, one of them large, and many in one go.
func redisThrough(t *testing.T, addr string) {
	cli := harness.Installed(t, "redis-cli")
	args := []string{"-h", "127.0.0.1", "-p", port(addr)}
	value := strings.Repeat("0123456789abcdef", 512<<10) // 8 MiB
	key := "large" + port(addr)
	output(t, strings.NewReader(value), cli, append(args, "-x", "set", key)...)
	if got := output(t, nil, cli, append(args, "get", key)...); strings.TrimSuffix(got, "\n") != value {
		t.Errorf("the large value came back with %d bytes", len(got))
	}
	var mass strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&mass, "SET mass%s:%d %d\r\n", port(addr), i, i)
	}
	if got := output(
		t,
		strings.NewReader(mass.String()),
		cli,
		append(args, "--pipe")...); !strings.Contains(
		got,
		"errors: 0, replies: 20000",
	) {
		t.Errorf("redis-cli --pipe: %q", got)
	}
	if got := output(t, nil, cli, append(args, "get", fmt.Sprintf("mass%s:19999", port(addr)))...); got != "19999\n" {
		t.Errorf("get: %q", got)
	}
}

// halfCloseThrough sends a body and closes its direction; only then the server responds. The stock connector ends both
// directions at once and may lose the response.
func (d *deployment) halfCloseThrough(t *testing.T, addr string) {
	nc := harness.Installed(t, "nc")
	for _, size := range []int64{0, 1, 5 << 20} {
		if d.form == stock {
			got, _, err := try(t, pattern(size, 5), nc, "-N", "127.0.0.1", port(addr))
			t.Logf("stock, %d bytes: %.20q, %v", size, got, err)
			continue
		}
		if got := output(t, pattern(size, 5), nc, "-N", "127.0.0.1", port(addr)); strings.TrimSpace(got) != sum(size, 5) {
			t.Errorf("nc -N with %d bytes: %.100q, want %q", size, got, sum(size, 5))
		}
	}
}

// digThrough queries the name server over TCP, and over UDP where the transport has datagrams.
func (d *deployment) digThrough(t *testing.T, server string) {
	dig := harness.Installed(t, "dig")
	ways := map[string]string{"tcp": "+tcp"}
	if d.datagrams() {
		ways["udp"] = "+notcp"
	}
	for network, flag := range ways {
		addr := d.publish(t, network, "--to", server)
		got := output(t, nil, dig, "@127.0.0.1", "-p", port(addr), flag, "+short", "+tries=5", "+time=2", "tunnel.example")
		if strings.TrimSpace(got) != "192.0.2.77" {
			t.Errorf("dig over %s: %q", network, got)
		}
	}
}

// iperfThrough measures both directions of TCP, and UDP where the transport has datagrams. iperf3 uses one port number for
// its control connection and its packets.
func (d *deployment) iperfThrough(t *testing.T, server string) {
	iperf := harness.Installed(t, "iperf3")
	addr := d.publish(t, "tcp", "--to", server)
	client := []string{"-c", "127.0.0.1", "-p", port(addr), "-t", "2", "-J"}
	for name, more := range map[string][]string{"to the origin": nil, "from the origin": {"-R"}, "8 streams": {"-P", "8"}} {
		r := iperfRun(t, iperf, append(client, more...)...)
		if r.End.Received.Bytes == 0 {
			t.Errorf("iperf3 %s carried nothing", name)
		}
		t.Logf("tcp %s: %.0f Mbit/s", name, r.End.Received.Rate/1e6)
	}
	if !d.datagrams() {
		return
	}
	d.publishAt(t, "udp", addr, "--to", server)
	for name, more := range map[string][]string{"to the origin": nil, "from the origin": {"-R"}} {
		r := iperfRun(t, iperf, append(append(client, "-u", "-b", "10M", "-l", "1200"), more...)...)
		if r.End.Sum.Packets == 0 || r.End.Sum.Lost*2 > r.End.Sum.Packets {
			t.Errorf("iperf3 over udp %s: %d of %d packets lost", name, r.End.Sum.Lost, r.End.Sum.Packets)
		}
		t.Logf("udp %s: %d packets at 10 Mbit/s, %d lost", name, r.End.Sum.Packets, r.End.Sum.Lost)
	}
}

// iperfReport is the part of iperf3's report that the test reads.
type iperfReport struct {
	Error string `json:"error"`
	End   struct {
		Received struct {
			Bytes float64 `json:"bytes"`
			Rate  float64 `json:"bits_per_second"`
		} `json:"sum_received"`
		Sum struct {
			Packets int `json:"packets"`
			Lost    int `json:"lost_packets"`
		} `json:"sum"`
	} `json:"end"`
}

// iperfRun measures once. The server takes one client at a time, and may still be busy with the last one.
func iperfRun(t *testing.T, iperf string, args ...string) (r iperfReport) {
	t.Helper()
	testkit.Retry(t, "iperf3", patience, func() error {
		r = iperfReport{}
		text := output(t, nil, iperf, args...)
		if err := json.Unmarshal([]byte(text), &r); err != nil || r.Error != "" && !strings.Contains(r.Error, "busy") {
			t.Fatalf("iperf3: %v %s\n%s", err, r.Error, harness.Tail(text, 1000))
		}
		if r.Error != "" {
			return errors.New(r.Error)
		}
		return nil
	})
	return r
}

// proxyProtocolThrough checks the address that nginx received in the PROXY protocol header.
func proxyProtocolThrough(t *testing.T, addr string) {
	curl := harness.Installed(t, "curl")
	got := output(t, nil, curl, "-sS", "-w", " %{local_ip}:%{local_port}", "http://"+addr+"/")
	seen, real, _ := strings.Cut(got, " ")
	if seen != real || seen == "" {
		t.Errorf("nginx saw %q, curl used %q", seen, real)
	}
}

// TestUpWithPorts opens ports of the edge that culvert up runs, by the operator's command, while it runs.
func TestUpWithPorts(t *testing.T) {
	sums := checksumServer(t)
	data := t.TempDir()
	p := harness.Start(t, nil, harness.Binary(t, "culvert"), "up", "--listen", "127.0.0.1:0", "--data-dir", data, "--grace-period", "2s")
	p.Line(t, "Public URL:")
	out := output(t, nil, harness.Binary(t, "culvert"), "route", "add", "tcp://:0", "local", "--to", sums, "--data-dir", data)
	_, addr, ok := strings.Cut(strings.TrimSpace(out), "it listens on ")
	if !ok || !strings.HasPrefix(addr, "127.0.0.1:") {
		t.Fatalf("route add says %q; a port of culvert up is for this machine alone", out)
	}
	if got, err := ask(addr, pattern(1<<20, 9)); err != nil || got != sum(1<<20, 9) {
		t.Errorf("through the port: %.80q, %v", got, err)
	}
	name, _, _ := strings.Cut(out, " ")
	output(t, nil, harness.Binary(t, "culvert"), "route", "delete", "--data-dir", data, name)
	if c, err := net.Dial("tcp", addr); err == nil {
		_ = c.Close()
		t.Error("the deleted port still accepts")
	}
}
