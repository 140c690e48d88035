package monitor

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"strconv"

	"github.com/culvert-tunnel/culvert/cli/internal/stockmetrics"
	"github.com/culvert-tunnel/culvert/cli/internal/sysinfo"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// contentType is that of every response of the reference, also of JSON: it sets none, and this is what its library guesses.
const contentType = "text/plain; charset=utf-8"

// Connection is one registered connection to the edge.
type Connection struct {
	Index    tunnel.ConnIndex
	Protocol tunnel.Protocol
	Edge     tunnel.EdgeAddr
}

// State is a connector at one moment.
type State struct {
	Tunnel tunnel.ID
	// Connector is zero while it is not known.
	Connector tunnel.ConnectorID
	// Connections are the registered ones, by index.
	Connections []Connection
	// Stopping says that the end has begun.
	Stopping bool
	// ICMPSources are the IPv4 and the IPv6 address from which this host sends ICMP errors.
	ICMPSources []string
}

// Source is what the paths show. Its functions are called for each request.
type Source struct {
	State func() State
	// Config is the configuration in force (docs/spec/ingress.md 12.5).
	Config func() ([]byte, error)
	// Flags are those that were given, without secrets.
	Flags map[string]string
}

// Mount adds the reference's paths to the listener. It must not be called after the listener runs.
func (l *Listener) Mount(src Source) {
	if l.QuickHost != "" {
		stockmetrics.QuickTunnel(l.Registry, "https://"+l.QuickHost)
	}
	l.handle("/ready", func(context.Context) (int, []byte, error) { return ready(src.State()) })
	l.handle("/healthcheck", func(context.Context) (int, []byte, error) { return http.StatusOK, []byte("OK\n"), nil })
	l.handle("/config", func(context.Context) (int, []byte, error) {
		b, err := src.Config()
		return http.StatusOK, b, err
	})
	l.handle("/quicktunnel", func(context.Context) (int, []byte, error) {
		b, err := json.Marshal(map[string]string{"hostname": l.QuickHost})
		return http.StatusOK, b, err
	})
	for _, path := range []string{"/debug/requests", "/debug/events"} {
		l.handle(path, func(context.Context) (int, []byte, error) { return http.StatusOK, []byte(noTraces), nil })
	}
	l.handle("/diag/tunnel", func(context.Context) (int, []byte, error) { return line(tunnelState(src.State())) })
	system := sysinfo.New(process.Version())
	l.handle("/diag/system", func(ctx context.Context) (int, []byte, error) { return line(system.Collect(ctx)) })
	l.handle("/diag/configuration", func(context.Context) (int, []byte, error) { return line(configuration(src.Flags)) })
}

// noTraces is on the pages on which the reference's library shows traces that neither program records.
const noTraces = "No traces are recorded. /debug/pprof/ has profiles, and /debug/pprof/trace an execution trace.\n"

// handle adds a path whose whole response is made before its first byte is sent, so that a failure has its status.
func (l *Listener) handle(path string, respond func(ctx context.Context) (status int, body []byte, err error)) {
	l.Ops.Handle(path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, body, err := respond(r.Context())
		if err != nil {
			l.logger.ErrorContext(r.Context(), "request to the private listener failed", slog.String(logkey.URL, path), slog.Any(logkey.Err, err))
			http.Error(w, "ERR: "+err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = w.Write(body) // the client may be gone
	}))
}

// readyBody is the reference's response on /ready.
type readyBody struct {
	Status           int    `json:"status"`
	ReadyConnections int    `json:"readyConnections"`
	ConnectorID      string `json:"connectorId"`
}

func ready(st State) (status int, body []byte, err error) {
	status = http.StatusOK
	if len(st.Connections) == 0 || st.Stopping {
		status = http.StatusServiceUnavailable
	}
	body, err = json.Marshal(readyBody{Status: status, ReadyConnections: len(st.Connections), ConnectorID: st.Connector.String()})
	return status, body, err
}

// TunnelState is the reference's response on /diag/tunnel.
type TunnelState struct {
	TunnelID    string            `json:"tunnelID,omitempty"`
	ConnectorID string            `json:"connectorID,omitempty"`
	Connections []ConnectionState `json:"connections,omitempty"`
	ICMPSources []string          `json:"icmp_sources,omitempty"`
}

// ConnectionState is a registered connection in TunnelState. Fields with the value zero are left out: index 0, and HTTP/2.
type ConnectionState struct {
	IsConnected bool   `json:"isConnected,omitempty"`
	Protocol    int    `json:"protocol,omitempty"`
	EdgeAddress string `json:"edgeAddress,omitempty"`
	Index       int    `json:"index,omitempty"`
}

// protocolQUIC is the reference's number for QUIC; HTTP/2 is 0.
const protocolQUIC = 1

func tunnelState(st State) TunnelState {
	out := TunnelState{TunnelID: st.Tunnel.String(), ConnectorID: st.Connector.String(), ICMPSources: st.ICMPSources}
	for _, c := range st.Connections {
		s := ConnectionState{IsConnected: true, EdgeAddress: c.Edge.Addr.Addr().Unmap().String(), Index: int(c.Index)}
		if c.Protocol == tunnel.QUIC {
			s.Protocol = protocolQUIC
		}
		out.Connections = append(out.Connections, s)
	}
	return out
}

// configuration is the reference's response on /diag/configuration: the flags, and the user that the process runs as.
func configuration(flags map[string]string) map[string]string {
	out := map[string]string{"uid": strconv.Itoa(os.Getuid())}
	for name, value := range flags {
		out[name] = value
	}
	return out
}

// line is v as JSON with a newline, as the reference's encoder writes it.
func line(v any) (status int, body []byte, err error) {
	var b bytes.Buffer
	err = json.NewEncoder(&b).Encode(v)
	return http.StatusOK, b.Bytes(), err
}
