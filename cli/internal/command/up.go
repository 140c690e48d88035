package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/connector"
	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/cli/internal/monitor"
	"github.com/culvert-tunnel/culvert/cli/internal/runlog"
	"github.com/culvert-tunnel/culvert/cli/internal/stack"
	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/process"
)

const (
	upListen = "127.0.0.1:8080"
	upTunnel = "local"
	// upPorts is the number of edge addresses: three per region, so that four connections leave one to spare in each.
	upPorts     = 6
	probeEvery  = 50 * time.Millisecond
	probeWithin = 5 * time.Second
)

// up runs the whole system in one process, with an edge of its own.
func (c *commands) up() *urfave.Command {
	return &urfave.Command{
		Name: "up", Usage: "run a whole system on this machine: edge, connector and a demo page or your own origin",
		OnUsageError: console.UsageError,
		Flags: append(dockerFlags(),
			&urfave.StringFlag{Name: "config", Usage: "`FILE` with ingress rules (cloudflared's config.yml)"},
			&urfave.StringFlag{Name: "url", Usage: "`ORIGIN` of all requests, instead of the demo page"},
			&urfave.StringFlag{Name: "listen", Value: upListen, Usage: "public `ADDRESS`; another port is taken if the default one is not free"},
			&urfave.StringFlag{Name: "data-dir", Usage: "`DIR` for the edge's certificates, tunnels and routes (default: ~/.culvert/edge) " +
				"[$CULVERT_DATA_DIR]"},
			&urfave.StringFlag{Name: "redis", Usage: "`URL` of a Redis, so that other processes can join; without it the store is inside the " +
				"process [$CULVERT_REDIS_URL]"},
			&urfave.StringFlag{Name: "redis-password-file", Usage: "`FILE` with the password of --redis [$CULVERT_REDIS_PASSWORD_FILE]"},
			&urfave.StringFlag{Name: "config-key-file", Usage: "with --redis, `FILE` with a secret of 32 bytes or more, the same for all, that " +
				"seals the configurations of culvert config in it (default: none are followed) [$CULVERT_CONFIG_KEY_FILE]"},
			&urfave.StringSliceFlag{Name: "link-listen", Usage: "with --redis, `ENDPOINT` where workers in other processes reach this one's " +
				"proxy: unix:/path or tcp:host:port, repeatable (default: a Unix socket)"},
			&urfave.StringFlag{Name: "link-certs", Usage: "`DIR` made by link-certs, for a --link-listen over TCP"},
			&urfave.StringFlag{Name: "metrics", Usage: "`ADDRESS` of the private listener for health and metrics (default: the first free port " +
				"of 127.0.0.1:20241 to 20245)"},
			&urfave.DurationFlag{Name: "grace-period", Value: 30 * time.Second, Usage: "time for running requests to finish at the end"},
			&urfave.StringFlag{Name: "loglevel", Value: "warn", Usage: "least level that is logged: debug, info, warn or error"},
		),
		Action: c.runUp,
	}
}

// dockerFlags are those of culvert up that let the labels of containers make rules.
func dockerFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "docker-endpoint", Usage: "`URL` of the Docker Engine whose " +
			"containers' labels make rules, such as unix:///var/run/docker.sock (default: none) [$CULVERT_DOCKER_ENDPOINT]"},
		&urfave.StringFlag{Name: "docker-network", Usage: "`NAME` of the network in which " +
			"containers are reached (default: the only one)"},
		&urfave.StringSliceFlag{Name: "docker-hostnames", Usage: "`NAME` that containers may " +
			"have as a hostname, *.NAME for all below, repeatable (default: all)"},
		&urfave.BoolFlag{Name: "docker-published", Usage: "reach containers at their " +
			"published ports instead of their own addresses"},
		&urfave.StringFlag{
			Name: "docker-host-address", Value: "127.0.0.1",
			Usage: "`ADDRESS` of the engine's host, for published ports and containers in its network",
		},
		&urfave.StringFlag{Name: "docker-tls-dir", Usage: "`DIR` with ca.pem, cert.pem and " +
			"key.pem, for an engine that is reached over TLS"},
	}
}

func (c *commands) runUp(ctx *urfave.Context) error {
	if ctx.Args().Present() {
		return fmt.Errorf("unexpected argument %q", ctx.Args().First())
	}
	logger, err := runlog.Plain(ctx.String("loglevel"), c.Host.Stderr)
	if err != nil {
		return err
	}
	cfg, err := c.upConfig(ctx)
	if err != nil {
		return err
	}
	server, err := monitor.Open(ctx.Context, monitor.Choose(ctx.String("metrics"), false), logger)
	if err != nil {
		return err
	}
	reload := process.NewReloader(logger)
	st, err := stack.New(ctx.Context, cfg, stack.Deps{
		Logger: logger, Registry: server.Registry, Ops: server.Ops, Version: process.Version(), Reload: reload,
	})
	if err == nil {
		err = watchUpRules(ctx.String("config"), reload, st)
	}
	if err != nil {
		return errors.Join(err, server.Ops.Close())
	}
	server.Mount(shown(st, nil))
	st.Add("greeting", process.RunnerFunc(func(ctx context.Context) error { return c.greet(ctx, st, server.Ops.Addr(), logger) }))
	if err := st.Run(ctx.Context); err != nil {
		return err
	}
	c.Println("Stopped.")
	return nil
}

func (c *commands) upConfig(ctx *urfave.Context) (stack.Config, error) {
	var cfg stack.Config
	rules, err := c.upRules(ctx)
	if err != nil {
		return cfg, err
	}
	listen, err := publicAddress(ctx)
	if err != nil {
		return cfg, err
	}
	grace := ctx.Duration("grace-period")
	if cfg, err = stack.Local(stack.LocalEdge{
		DataDir: c.ExpandHome(c.upDataDir(ctx)), Listen: listen, Tunnel: upTunnel, Ports: upPorts, Grace: grace,
	}); err != nil {
		return cfg, err
	}
	cfg.Redis.URL, cfg.Rules, cfg.RulesFromFile = c.Option(ctx, "redis", "CULVERT_REDIS_URL"), rules, ctx.String("config") != ""
	cfg.Redis.PasswordFile = c.Option(ctx, "redis-password-file", "CULVERT_REDIS_PASSWORD_FILE")
	cfg.Supervisor.ConfigKeyFile = c.Option(ctx, "config-key-file", "CULVERT_CONFIG_KEY_FILE")
	cfg.Proxy.Listen, cfg.Proxy.TLSDir = ctx.StringSlice("link-listen"), ctx.String("link-certs")
	docker := &cfg.Proxy.Docker
	docker.Endpoint, docker.Network = c.Option(ctx, "docker-endpoint", "CULVERT_DOCKER_ENDPOINT"), ctx.String("docker-network")
	docker.Hostnames, docker.Published = ctx.StringSlice("docker-hostnames"), ctx.Bool("docker-published")
	docker.HostAddress, docker.TLSDir = ctx.String("docker-host-address"), ctx.String("docker-tls-dir")
	return cfg, nil
}

func (c *commands) upDataDir(ctx *urfave.Context) string {
	if dir := c.Option(ctx, "data-dir", "CULVERT_DATA_DIR"); dir != "" {
		return dir
	}
	return c.EdgeData()
}

// upRules gives the rules of the file, of one origin, or of the demo page.
func (c *commands) upRules(ctx *urfave.Context) (*ingress.Set, error) {
	path, origin := ctx.String("config"), ctx.String("url")
	switch {
	case path != "" && origin != "":
		return nil, errors.New("--config and --url exclude each other")
	case path != "":
		file, err := cfdfile.Read(path)
		if err != nil {
			return nil, err
		}
		set, err := connector.FileRules(file)
		if err == nil {
			for _, key := range file.UnusedKeys {
				c.Warn(path+":", key)
			}
			for _, w := range set.Warnings() {
				c.Warn(w)
			}
		}
		return set, err
	case origin != "":
		return ingress.SingleOrigin(ingress.SingleFlags{URL: &origin})
	default:
		yes := true
		return ingress.SingleOrigin(ingress.SingleFlags{HelloWorld: &yes})
	}
}

// watchUpRules replaces the rules when their file changes.
func watchUpRules(path string, reload process.Reloader, st *stack.Stack) error {
	if path == "" {
		return nil
	}
	file, err := cfdfile.Read(path)
	if err != nil {
		return err
	}
	return connector.WatchRules(reload.Files, file, st.Tunnel(), func(file *cfdfile.File) error {
		set, err := connector.FileRules(file)
		if err != nil {
			return err
		}
		return st.ReplaceRules(set)
	})
}

// publicAddress is the address for visitors: the given one, else the default one, else any free port.
func publicAddress(ctx *urfave.Context) (netip.AddrPort, error) {
	addr, err := netip.ParseAddrPort(ctx.String("listen"))
	if err != nil {
		return addr, fmt.Errorf("--listen %q is not IP:PORT", ctx.String("listen"))
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx.Context, "tcp", addr.String())
	if err == nil {
		return addr, ln.Close() // the address is free; the edge opens it again
	}
	if ctx.IsSet("listen") {
		return addr, fmt.Errorf("public listener: %w", err)
	}
	return netip.AddrPortFrom(addr.Addr(), 0), nil
}

// greet waits until a request succeeds, prints the public URL, and waits for the end.
func (c *commands) greet(ctx context.Context, st *stack.Stack, private netip.AddrPort, logger *slog.Logger) error {
	url := st.Edge().PublicURL()
	client := &http.Client{
		Timeout: probeWithin, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for st.WorkerReady() != nil || !responds(ctx, client, url) {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	c.Println("Public URL: " + localURL(url))
	c.Println("Private:    http://" + private.String() + "/readyz")
	logger.InfoContext(ctx, "first request went through", slog.String(logkey.URL, url))
	<-ctx.Done()
	c.Println("Stopping: finishing requests in flight. Press Ctrl-C again to stop at once.")
	return nil
}

// responds reports whether url responds through the tunnel. The error page for an unreachable origin counts as well.
func responds(ctx context.Context, client *http.Client, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	_ = resp.Body.Close() // only read
	switch resp.Header.Get("Culvert-Error") {
	case "", "origin_unreachable", "origin_timeout":
		return err == nil
	}
	return false
}

// localURL replaces a loopback or unspecified address by localhost.
func localURL(raw string) string {
	host, port, err := net.SplitHostPort(raw[len("http://"):])
	if err != nil {
		return raw
	}
	ip, err := netip.ParseAddr(host)
	if _, bad := strconv.Atoi(port); bad != nil || err != nil || (!ip.IsLoopback() && !ip.IsUnspecified()) {
		return raw
	}
	return "http://localhost:" + port
}
