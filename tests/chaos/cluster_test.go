//go:build chaos && linux

package chaos_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/chaos"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// patience bounds every wait for something that must happen.
const patience = 2 * testkit.Patience

// connections is the number of every tunnel.
const connections = 4

// redisPort is free: the namespace has no other program.
const redisPort = 6379

// size is how many there are of each part.
type size struct {
	tunnels, supervisors, workers, proxies int
	// protocol of the workers, empty for their own choice.
	protocol string
	// env is added to every worker's.
	env []string
	// later leaves the start of the workers to the scenario.
	later bool
	// shards makes the store a Redis Cluster of three masters.
	shards bool
}

// part is a process of the deployment. Its address in the store's network and its address towards the edge are its own, so that each path
// can be cut for it alone.
type part struct {
	*harness.Program
	name, service string
	number        int
	ops           int
	env           []string
}

func (p *part) storeAddr() string { return fmt.Sprintf("127.1.0.%d", p.number) }
func (p *part) edgeAddr() string  { return fmt.Sprintf("127.2.0.%d", p.number) }

// cluster is a whole deployment.
type cluster struct {
	t    *testing.T
	size size
	dir  string
	bin  string
	edge *harness.Edge
	// tunnels are the names, hosts the hosts of their routes; slots all that must be served.
	tunnels, hosts []string
	slots          []chaos.Slot
	credentials    string
	redis          *harness.Program
	store          redis.UniversalClient
	shards         []*harness.Program
	owner          []int // of each hash slot: the index of its shard
	parts          []*part
	others         []*harness.Program
	edgeOps        int
	numbers        int
	origin         *httptest.Server
}

func newCluster(t *testing.T, s size) *cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "chaos-") //nolint:usetesting // a short path, for the sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := &cluster{t: t, size: s, dir: dir, bin: filepath.Dir(harness.Binary(t, "edge"))}
	c.origin = httptest.NewServer(http.HandlerFunc(respond))
	t.Cleanup(c.origin.Close)
	c.store = redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", redisPort), MaxRetries: -1})
	t.Cleanup(func() { _ = c.store.Close() })
	return c
}

// respond is the origin: it responds after the time that the request names.
func respond(w http.ResponseWriter, r *http.Request) {
	if ms, err := strconv.Atoi(r.URL.Query().Get("ms")); err == nil {
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
		case <-r.Context().Done():
		}
	}
	fmt.Fprint(w, "fine")
}

// startAll starts everything in the order of a deployment.
func (c *cluster) startAll() {
	c.t.Helper()
	if c.size.shards {
		c.startShards()
	} else {
		c.startRedis()
	}
	c.edgeOps = harness.FreePort(c.t)
	c.edge = harness.StartEdge(c.t, fmt.Sprintf("CULVERT_OPS_LISTEN=127.0.0.1:%d", c.edgeOps))
	var files []string
	for i := range c.size.tunnels {
		name, host := "peer", "peer.test"
		if i > 0 {
			name, host = fmt.Sprintf("tunnel%d", i), fmt.Sprintf("tunnel%d.test", i)
			made, err := c.edge.Admin.CreateTunnel(c.t.Context(), name)
			if err != nil {
				c.t.Fatal(err)
			}
			if _, err := c.edge.Admin.AddRoute(c.t.Context(), host, name); err != nil {
				c.t.Fatal(err)
			}
			files = append(files, c.file(name, made.Token))
		} else {
			files = append(files, c.file(name, c.edge.Token))
		}
		c.tunnels, c.hosts = append(c.tunnels, name), append(c.hosts, host)
	}
	c.credentials = strings.Join(files, ",")
	list, err := c.edge.Admin.ListTunnels(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	for _, tn := range list {
		for i := range connections {
			c.slots = append(c.slots, chaos.Slot{Tunnel: tn.ID.String(), Index: i})
		}
	}
	c.start("discovery")
	for range c.size.supervisors {
		c.start("supervisor")
	}
	for range c.size.proxies {
		c.start("proxy")
	}
	for range c.size.workers {
		if !c.size.later {
			c.start("conn-worker")
		}
	}
}

func (c *cluster) file(name, content string) string {
	c.t.Helper()
	path := filepath.Join(c.dir, name+".token")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// startRedis starts a Redis that keeps nothing on disk.
func (c *cluster) startRedis() {
	c.t.Helper()
	path := harness.Installed(c.t, "redis-server")
	c.redis = harness.Start(c.t, nil, path, "--port", strconv.Itoa(redisPort), "--bind", "0.0.0.0", "--protected-mode", "no",
		"--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", "--dir", c.dir)
	testkit.Retry(c.t, "redis", patience, func() error { return c.store.Ping(c.t.Context()).Err() })
}

// stopRedis ends Redis; all it had is lost.
func (c *cluster) stopRedis() { c.kill(c.redis) }

// env is the environment of a part.
func (c *cluster) environment(p *part) []string {
	var static []string
	for _, port := range c.edge.Ports {
		static = append(static, fmt.Sprintf("127.0.0.1:%d", port))
	}
	url := "redis://" + net.JoinHostPort(p.storeAddr(), strconv.Itoa(redisPort))
	if c.size.shards {
		url = clusterURL()
	}
	env := []string{
		"CULVERT_REDIS_URL=" + url,
		fmt.Sprintf("CULVERT_OPS_LISTEN=127.0.0.1:%d", p.ops), "CULVERT_LOG_FORMAT=json",
	}
	switch p.service {
	case "discovery":
		return append(env, "CULVERT_STATIC="+strings.Join(static, ","))
	case "supervisor":
		return append(env, "CULVERT_ID="+p.name)
	case "proxy":
		return append(
			env, "CULVERT_ID="+p.name, "CULVERT_LISTEN=unix:"+filepath.Join(c.dir, p.name+".sock"), "CULVERT_ORIGIN_URL="+c.origin.URL,
		)
	}
	env = append(
		env, "CULVERT_ID="+p.name, "CULVERT_HOST="+p.name, "CULVERT_CREDENTIALS_FILES="+c.credentials, "CULVERT_LINK_SOCKET_DIR="+c.dir,
		"CULVERT_EDGE_CACERT="+filepath.Join(c.edge.Data, "ca.pem"), "CULVERT_EDGE_BIND_ADDRESS="+p.edgeAddr(),
	)
	if c.size.protocol != "" {
		env = append(env, "CULVERT_EDGE_PROTOCOL="+c.size.protocol)
	}
	return append(append(env, c.size.env...), p.env...)
}

// start starts one more process of a service.
func (c *cluster) start(service string, env ...string) *part {
	c.t.Helper()
	p := c.add(service, env...)
	c.again(p)
	return p
}

// add makes a part that is not started yet.
func (c *cluster) add(service string, env ...string) *part {
	c.t.Helper()
	c.numbers++
	p := &part{
		name: fmt.Sprintf("%s-%d", service, c.numbers), service: service, number: c.numbers + 10, ops: harness.FreePort(c.t), env: env,
	}
	c.parts = append(c.parts, p)
	return p
}

// again starts a part that does not run, as what it was.
func (c *cluster) again(p *part) {
	c.t.Helper()
	p.Program = harness.Start(c.t, c.environment(p), filepath.Join(c.bin, p.service))
}

// of lists the parts of a service that run.
func (c *cluster) of(service string) []*part {
	var list []*part
	for _, p := range c.parts {
		if p.service == service && p.Program != nil && !p.over() {
			list = append(list, p)
		}
	}
	return list
}

func (p *part) over() bool {
	select {
	case <-p.Exited:
		return true
	default:
		return false
	}
}

// kill ends a process at once.
func (c *cluster) kill(p *harness.Program) {
	_ = p.Cmd.Process.Kill() // it may be over
	<-p.Exited
}

// signal sends a signal to a part.
func (c *cluster) signal(p *part, s syscall.Signal) {
	c.t.Helper()
	if err := p.Cmd.Process.Signal(s); err != nil {
		c.t.Fatalf("%v to %s: %v", s, p.name, err)
	}
}

// end kills everything: an orderly end of a deployment takes its time and is a scenario of its own.
func (c *cluster) end() {
	for _, p := range c.parts {
		if p.Program != nil {
			c.kill(p.Program)
		}
	}
	for _, p := range slices.Concat(c.others, c.shards, []*harness.Program{c.redis, c.program()}) {
		if p != nil {
			c.kill(p)
		}
	}
	if c.t.Failed() {
		c.logs()
	}
	_ = c.nft("flush ruleset")
}

func (c *cluster) program() *harness.Program {
	if c.edge == nil {
		return nil
	}
	return c.edge.Program
}

// logs keeps what the parts printed where CULVERT_CHAOS_LOGS says.
func (c *cluster) logs() {
	dir := os.Getenv("CULVERT_CHAOS_LOGS")
	if dir == "" {
		return
	}
	dir = filepath.Join(dir, strings.ReplaceAll(c.t.Name(), "/", "-"))
	_ = os.MkdirAll(dir, 0o755)
	for _, p := range c.parts {
		if p.Program == nil {
			continue
		}
		_ = os.WriteFile(filepath.Join(dir, p.name+".log"), []byte(p.Out.String()), 0o600)
	}
	_ = os.WriteFile(filepath.Join(dir, "edge.log"), []byte(c.edge.Out.String()), 0o600)
}

// nft runs a script of nftables in the namespace.
func (c *cluster) nft(script string) error {
	cmd := exec.Command(harness.Installed(c.t, "nft"), "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	return nil
}

// block drops the packets that match one of the matches, silently and where they arrive: the sender learns nothing. It replaces former
// rules; none opens everything.
func (c *cluster) block(matches ...string) {
	c.t.Helper()
	rules := make([]string, 0, len(matches))
	for _, m := range matches {
		rules = append(rules, m+" drop")
	}
	c.rules(rules...)
}

// rules replaces the rules for what arrives.
func (c *cluster) rules(rules ...string) {
	c.t.Helper()
	script := "table inet chaos { chain in { type filter hook input priority 0; }; }\nflush chain inet chaos in\n"
	for _, r := range rules {
		script += "add rule inet chaos in " + r + "\n"
	}
	if err := c.nft(script); err != nil {
		c.t.Fatal(err)
	}
}

// fromEdge and fromStore are the rules that cut a part off.
func fromEdge(p *part) []string  { return around(p.edgeAddr()) }
func fromStore(p *part) []string { return around(p.storeAddr()) }

func around(addr string) []string { return []string{"ip saddr " + addr, "ip daddr " + addr} }

// midPass waits until a part has sent a script to Redis, and calls f at once.
func (c *cluster) midPass(p *part, f func()) {
	c.t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", redisPort))
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, "MONITOR\r\n"); err != nil {
		c.t.Fatal(err)
	}
	clients, err := c.store.ClientList(c.t.Context()).Result()
	if err != nil {
		c.t.Fatal(err)
	}
	var own []string
	for l := range strings.SplitSeq(clients, "\n") {
		if _, addr, ok := strings.Cut(l, " addr="); ok && strings.Contains(l, " laddr="+p.storeAddr()+":") {
			addr, _, _ = strings.Cut(addr, " ")
			own = append(own, " "+addr+"] \"eval")
		}
	}
	sc := bufio.NewScanner(conn)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		for _, o := range own {
			if strings.Contains(sc.Text(), o) {
				f()
				return
			}
		}
	}
	c.t.Fatalf("%s, with the clients %q, sent no script: %v", p.name, own, sc.Err())
}

// ready waits until a part says that it is ready.
func (c *cluster) ready(p *part) {
	c.t.Helper()
	client := http.Client{Timeout: 5 * time.Second}
	testkit.Retry(c.t, p.name+" is ready", patience, func() error {
		resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", p.ops))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", resp.Status, b)
		}
		return err
	})
}

// metric adds up the values of one metric of a process. It counts only the series whose labels contain text.
func (c *cluster) metric(ops int, name, text string) (float64, error) {
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", ops))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return sumSamples(resp.Body, name, text)
}

// registered waits until the store has so many workers.
func (c *cluster) registered(n int) {
	c.t.Helper()
	testkit.Retry(c.t, "registrations of workers", patience, func() error {
		have, err := c.store.HLen(c.t.Context(), "cv:{worker}:records").Result()
		if err == nil && int(have) != n {
			err = fmt.Errorf("%d of %d workers", have, n)
		}
		return err
	})
}

// leader finds the supervisor that plans.
func (c *cluster) leader() *part {
	c.t.Helper()
	var found *part
	testkit.Retry(c.t, "a leading supervisor", patience, func() error {
		for _, p := range c.of("supervisor") {
			if v, err := c.metric(p.ops, "culvert_supervisor_leading", ""); err == nil && v == 1 {
				found = p
				return nil
			}
		}
		return errors.New("none leads")
	})
	return found
}
