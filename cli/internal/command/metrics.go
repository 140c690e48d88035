package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
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
		if err := (ops.Config{Listen: m.addr}).Validate(); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
		server, err := ops.New(ctx, ops.Config{Listen: m.addr}, deps)
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

// readyBody is the reference's answer of /ready.
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
		_, _ = w.Write(b) // the asker may be gone
	}))
	m.ops.Handle("/healthcheck", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, "OK") // the asker may be gone
	}))
	m.ops.Handle("/config", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b, err := st.ConfigJSON()
		if err != nil {
			http.Error(w, "ERR: "+err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(b) // the asker may be gone
	}))
	m.ops.Handle("/quicktunnel", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"hostname":""}`) // the asker may be gone
	}))
}
