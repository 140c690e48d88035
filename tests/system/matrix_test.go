//go:build system

package system_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// deployment is an edge and one connector, in one of the forms of the matrix.
type deployment struct {
	name     string // form and protocol, such as "split/http2"
	form     form
	protocol string
	edge     *harness.Edge
	// tlsURL is the edge's HTTPS address; client trusts its certificate and speaks HTTP/2 there.
	tlsURL  string
	caFile  string
	origins *origins
	// procs are the connector's processes by name.
	procs map[string][]*harness.Program
}

// form is how the connector runs.
type form string

const (
	oneProcess form = "one"
	split      form = "split" // discovery, supervisor, two workers and two proxies on a real Redis
	stock      form = "stock" // a cloudflared binary
)

// datagrams reports whether the transport of the deployment carries UDP and ICMP.
func (d *deployment) datagrams() bool { return d.protocol == "quic" }

// trailers reports whether trailers can pass: the stock connector drops them on QUIC.
func (d *deployment) trailers() bool { return d.form != stock || d.protocol == "http2" }

// TestMatrix runs every kind of traffic through every form of the connector over both transports. With
// CULVERT_PEER_CLOUDFLARED the stock connector runs the same cases on our edge, except for those that it cannot pass.
func TestMatrix(t *testing.T) {
	o := startOrigins(t)
	for _, f := range []form{oneProcess, split, stock} {
		for _, protocol := range []string{"quic", "http2"} {
			t.Run(string(f)+"/"+protocol, func(t *testing.T) {
				if f == stock && os.Getenv(harness.PeerVariable) == "" {
					t.Skipf("%s is not set to the path of a cloudflared binary", harness.PeerVariable)
				}
				d := deploy(t, f, protocol, o)
				t.Run("http", d.testHTTP)
				t.Run("stream", d.testStreaming)
				t.Run("grpc", d.testGRPC)
				t.Run("websocket", d.testWebSocket)
				t.Run("tcp", d.testTCP)
				t.Run("udp", d.testUDP)
			})
		}
	}
}

// deploy starts an edge and a connector and waits for its four connections.
func deploy(t *testing.T, f form, protocol string, o *origins) *deployment {
	t.Helper()
	d := deployConfig(t, f, protocol, o.config(f))
	d.origins = o
	return d
}

// deployConfig is deploy with the connector's config.yml.
func deployConfig(t *testing.T, f form, protocol, content string) *deployment {
	t.Helper()
	https := harness.FreePort(t)
	d := &deployment{
		name: string(f) + "/" + protocol, form: f, protocol: protocol, procs: map[string][]*harness.Program{},
		tlsURL: fmt.Sprintf("https://localhost:%d", https),
	}
	d.edge = harness.StartEdge(t, fmt.Sprintf("CULVERT_PUBLIC_HTTPS=127.0.0.1:%d", https), "CULVERT_PUBLIC_NAMES=localhost,grpcs.test")
	d.caFile = filepath.Join(d.edge.Data, "ca.pem")
	config := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	switch f {
	case oneProcess:
		d.whole(t, "culvert", harness.Binary(t, "culvert"), config)
	case stock:
		d.whole(t, "cloudflared", os.Getenv(harness.PeerVariable), config)
	case split:
		d.apart(t, config)
	}
	d.awaitConnections(t, 4)
	return d
}

func (d *deployment) awaitConnections(t *testing.T, want int) {
	t.Helper()
	testkit.Retry(t, d.name+": connections", patience, func() error {
		list, err := d.edge.Admin.ListConnections(t.Context())
		if err != nil {
			return err
		}
		n := 0
		for _, c := range list {
			if c.State == "active" && string(c.Protocol) == d.protocol {
				n++
			}
		}
		if n != want {
			return fmt.Errorf("%d active connections over %s, want %d", n, d.protocol, want)
		}
		return nil
	})
}

// whole runs a connector as one process, with a command line that the stock connector accepts as well.
func (d *deployment) whole(t *testing.T, name, path, config string) {
	t.Helper()
	args := []string{
		"tunnel",
		"--no-autoupdate",
		"--config",
		config,
		"--protocol",
		d.protocol,
		"--cacert",
		d.caFile,
		"--grace-period",
		"5s",
		"--metrics",
		"127.0.0.1:0",
	}
	for _, p := range d.edge.Ports {
		args = append(args, "--edge", fmt.Sprintf("127.0.0.1:%d", p))
	}
	d.procs[name] = append(d.procs[name], harness.Start(t, []string{"TUNNEL_TOKEN=" + d.edge.Token}, path, append(args, "run")...))
}

// apart runs every part as its own process, with a real Redis.
func (d *deployment) apart(t *testing.T, config string) {
	t.Helper()
	redis := harness.Installed(t, "redis-server")
	dir := t.TempDir()
	sock := filepath.Join(dir, "redis.sock")
	harness.Start(t, nil, redis, "--port", "0", "--unixsocket", sock, "--save", "", "--dir", dir)
	var static []string
	for _, p := range d.edge.Ports {
		static = append(static, fmt.Sprintf("127.0.0.1:%d", p))
	}
	common := []string{"CULVERT_REDIS_URL=unix://" + sock, "CULVERT_OPS_LISTEN=127.0.0.1:0"}
	run := func(name string, env ...string) {
		p := harness.Start(t, append(env, common...), harness.Binary(t, name))
		d.procs[name] = append(d.procs[name], p)
	}
	run("discovery", "CULVERT_STATIC="+strings.Join(static, ","))
	run("supervisor")
	for i := range 2 {
		run("proxy", fmt.Sprintf("CULVERT_LISTEN=unix:%s/proxy%d.sock", dir, i), "CULVERT_CONFIG_FILE="+config)
	}
	for range 2 {
		run(
			"conn-worker",
			"TUNNEL_TOKEN="+d.edge.Token,
			"CULVERT_EDGE_CACERT="+d.caFile,
			"CULVERT_EDGE_PROTOCOL="+d.protocol,
			"CULVERT_LINK_SOCKET_DIR="+dir,
		)
	}
}

// client sends HTTP/1.1 requests for host to the edge's public address.
func (d *deployment) do(t *testing.T, req *http.Request, host string) *http.Response {
	t.Helper()
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return resp
}

// h2c is a client for HTTP/2 without TLS.
func h2c() *http.Client {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: p}}
}
