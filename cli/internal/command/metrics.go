package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"syscall"

	"github.com/culvert-tunnel/culvert/cli/internal/stack"
	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/telemetry"
)

// metricsPorts are tried in order when no address is given; then any free port (docs/spec/lifecycle.md 10.2).
func metricsPorts() []int { return []int{20241, 20242, 20243, 20244, 20245, 0} }

// metricsListener is the private listener of the drop-in: the reference's paths beside our own.
type metricsListener struct {
	addr     string
	logger   *slog.Logger
	registry *telemetry.Registry
	ops      *ops.Server
}

// open binds the listener. An address that was given must be free.
func (m *metricsListener) open(ctx context.Context) error {
	m.registry = telemetry.NewRegistry(process.Version())
	deps := ops.Deps{Logger: m.logger, Metrics: m.registry.Handler(), Version: process.Version()}
	if m.addr != "" && m.addr != "localhost:0" {
		cfg := ops.Config{Listen: m.addr, Hosts: metricsHosts(m.addr)}
		if err := cfg.Validate(); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
		server, err := ops.New(ctx, cfg, deps)
		if err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
		m.ops = server
		return nil
	}
	var err error
	for _, port := range metricsPorts() {
		m.ops, err = ops.New(ctx, ops.Config{Listen: fmt.Sprintf("127.0.0.1:%d", port)}, deps)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// metricsHosts gives the names that requests to the listener on addr may use. A listener that is open to other hosts, such as
// 0.0.0.0:2000 in a container, is scraped by names that are not known here, as with stock cloudflared, so it allows all.
func metricsHosts(addr string) []string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host == "localhost" {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		return nil
	}
	return []string{ops.AnyHost}
}

// readyBody is the reference's response on /ready.
type readyBody struct {
	Status           int    `json:"status"`
	ReadyConnections int    `json:"readyConnections"`
	ConnectorID      string `json:"connectorId"`
}

// mount adds the reference's paths.
func (m *metricsListener) mount(st *stack.Stack) {
	m.ops.Handle("/ready", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n, id := st.Connections()
		body := readyBody{Status: http.StatusOK, ReadyConnections: n, ConnectorID: id.String()}
		if n == 0 || st.Stopping() {
			body.Status = http.StatusServiceUnavailable
		}
		b, err := json.Marshal(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(body.Status)
		_, _ = w.Write(b) // the client may be gone
	}))
	m.ops.Handle("/healthcheck", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, "OK") // the client may be gone
	}))
	m.ops.Handle("/config", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b, err := st.ConfigJSON()
		if err != nil {
			http.Error(w, "ERR: "+err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(b) // the client may be gone
	}))
	m.ops.Handle("/quicktunnel", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"hostname":""}`) // the client may be gone
	}))
}
