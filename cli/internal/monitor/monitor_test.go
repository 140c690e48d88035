package monitor_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/cli/internal/monitor"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func TestChoose(t *testing.T) {
	known := func(host string) []string {
		return []string{host + ":20241", host + ":20242", host + ":20243", host + ":20244", host + ":20245", host + ":0"}
	}
	for _, c := range []struct {
		given     string
		container bool
		want      []string
		asked     bool
	}{
		{"", false, known("127.0.0.1"), false},
		{"localhost:0", false, known("127.0.0.1"), false},
		{"", true, known("0.0.0.0"), false},
		{"0.0.0.0:0", true, known("0.0.0.0"), false},
		{"0.0.0.0:0", false, []string{"0.0.0.0:0"}, true},
		{"localhost:0", true, []string{"localhost:0"}, true},
		{"0.0.0.0:2000", true, []string{"0.0.0.0:2000"}, true},
		{":2000", false, []string{":2000"}, true},
	} {
		got := monitor.Choose(c.given, c.container)
		if !slices.Equal(got.Candidates, c.want) || got.Asked != c.asked {
			t.Errorf("Choose(%q, %v) = %+v, want %v, %v", c.given, c.container, got, c.want, c.asked)
		}
	}
}

// TestTakenAddress opens a listener where another one is: an error if it was asked for, else the next one, else none at all.
func TestTakenAddress(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := taken.Addr().String()
	logger := slog.New(slog.DiscardHandler)
	if _, err := monitor.Open(t.Context(), monitor.Address{Candidates: []string{busy}, Asked: true}, logger); err == nil ||
		!strings.Contains(err.Error(), busy) {
		t.Errorf("asked for: %v, want an error that names %s", err, busy)
	}
	l, err := monitor.Open(t.Context(), monitor.Address{Candidates: []string{busy, "127.0.0.1:0"}}, logger)
	if err != nil {
		t.Fatal(err)
	}
	if !l.Ops.Addr().IsValid() || l.Ops.Addr().String() == busy {
		t.Errorf("the listener is on %s, want a free port", l.Ops.Addr())
	}
	if err := l.Ops.Close(); err != nil {
		t.Error(err)
	}
	if l, err = monitor.Open(t.Context(), monitor.Address{Candidates: []string{busy}}, logger); err != nil || l.Ops.Addr().IsValid() {
		t.Errorf("no free address = %v, %v, want a server without a listener", l, err)
	}
}

func serve(t *testing.T, src monitor.Source) func(path string) (int, string, string) {
	t.Helper()
	l, err := monitor.Open(t.Context(), monitor.Choose("127.0.0.1:0", false), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l.Mount(src)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Ops.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func(path string) (int, string, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Ops.Addr().String()+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header.Get("Content-Type"), string(b)
	}
}

func registered(index tunnel.ConnIndex, p tunnel.Protocol, edge string) monitor.Connection {
	return monitor.Connection{Index: index, Protocol: p, Edge: tunnel.EdgeAddr{Addr: netip.MustParseAddrPort(edge)}}
}

// TestPaths compares every path with what the reference was recorded to respond.
func TestPaths(t *testing.T) {
	id, err := tunnel.ParseID("0eebc739-e3d0-45d6-8329-28839856319d")
	if err != nil {
		t.Fatal(err)
	}
	connectorID, err := tunnel.ParseConnectorID("f46aacfc-076d-4201-ab9a-ead6a61d8d91")
	if err != nil {
		t.Fatal(err)
	}
	state := monitor.State{
		Tunnel: id, Connector: connectorID, ICMPSources: []string{"0.0.0.0", "::1"},
		Connections: []monitor.Connection{
			registered(0, tunnel.QUIC, "127.0.0.1:7844"), registered(1, tunnel.HTTP2, "[::1]:7844"), registered(2, tunnel.QUIC, "127.0.0.2:7844"),
		},
	}
	var fault error
	get := serve(t, monitor.Source{
		State:  func() monitor.State { return state },
		Config: func() ([]byte, error) { return []byte(`{"version":-1}`), fault },
		Flags:  map[string]string{"grace-period": "2s", "hello-world": "true"},
	})
	check := func(path string, status int, body string) {
		t.Helper()
		if s, ct, b := get(path); s != status || ct != "text/plain; charset=utf-8" || b != body {
			t.Errorf("GET %s = %d %s\n%s\nwant %d\n%s", path, s, ct, b, status, body)
		}
	}
	check("/ready", http.StatusOK, `{"status":200,"readyConnections":3,"connectorId":"f46aacfc-076d-4201-ab9a-ead6a61d8d91"}`)
	check("/healthcheck", http.StatusOK, "OK\n")
	check("/quicktunnel", http.StatusOK, `{"hostname":""}`)
	check("/config", http.StatusOK, `{"version":-1}`)
	check("/diag/tunnel", http.StatusOK, `{"tunnelID":"0eebc739-e3d0-45d6-8329-28839856319d",`+
		`"connectorID":"f46aacfc-076d-4201-ab9a-ead6a61d8d91","connections":[{"isConnected":true,"protocol":1,"edgeAddress":"127.0.0.1"},`+
		`{"isConnected":true,"edgeAddress":"::1","index":1},{"isConnected":true,"protocol":1,"edgeAddress":"127.0.0.2","index":2}],`+
		`"icmp_sources":["0.0.0.0","::1"]}`+"\n")
	check("/diag/configuration", http.StatusOK, `{"grace-period":"2s","hello-world":"true","uid":"`+strconv.Itoa(os.Getuid())+`"}`+"\n")

	state.Connections, fault = nil, errors.New("no rules")
	check("/ready", http.StatusServiceUnavailable, `{"status":503,"readyConnections":0,"connectorId":"f46aacfc-076d-4201-ab9a-ead6a61d8d91"}`)
	check("/config", http.StatusInternalServerError, "ERR: no rules\n")
}
