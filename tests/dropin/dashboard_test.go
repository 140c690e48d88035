//go:build dropin

package dropin_test

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// plotted is a series that community dashboards plot, with what a run of the script may differ by between two connectors.
type plotted struct {
	title, family string
	labels        []string
	// measured marks a value that the network makes and not the script: it must be there, and is not compared.
	measured bool
}

// dashboard are the ten series that the dashboards for cloudflared on grafana.com plot most.
func dashboard() []plotted {
	return []plotted{
		{title: "connections", family: "cloudflared_tunnel_ha_connections"},
		{title: "requests", family: "cloudflared_tunnel_total_requests"},
		{title: "in flight", family: "cloudflared_tunnel_concurrent_requests_per_tunnel"},
		{title: "responses 200", family: "cloudflared_tunnel_response_by_code", labels: []string{"status_code=200"}},
		{title: "responses 404", family: "cloudflared_tunnel_response_by_code", labels: []string{"status_code=404"}},
		{title: "request errors", family: "cloudflared_tunnel_request_errors"},
		{title: "server locations", family: "cloudflared_tunnel_server_locations", labels: []string{"edge_location=local"}},
		{title: "registrations", family: "cloudflared_tunnel_tunnel_register_success", labels: []string{"rpcName=registerConnection"}},
		{title: "tcp streams", family: "cloudflared_tcp_active_sessions"},
		{title: "rtt ms", family: "quic_client_smoothed_rtt", measured: true},
	}
}

// step is a part of the script, and what it adds to the series.
type step struct {
	name string
	do   func(t *testing.T)
	adds map[string]float64
}

// script is the load of a run. Every step ends in a state that stays until the next one, so that when a series is read has no effect.
func (tr *traffic) script() []step {
	const held = 5
	responses := make(chan int, held)
	var tcp net.Conn
	requests := func(n int, path string) func(t *testing.T) {
		return func(t *testing.T) {
			for range n {
				tr.send(t, http.MethodGet, path)
			}
		}
	}
	return []step{
		{"connect", func(*testing.T) {}, map[string]float64{
			"connections": connections, "server locations": connections, "registrations": connections,
		}},
		{"20 pages", requests(20, "/"), map[string]float64{"requests": 20, "responses 200": 20}},
		{"5 missing", requests(5, "/missing"), map[string]float64{"requests": 5, "responses 404": 5}},
		{"1 broken", func(t *testing.T) { tr.send(t, http.MethodPost, "/broken") }, map[string]float64{"requests": 1, "request errors": 1}},
		{"5 held", func(t *testing.T) {
			for range held {
				go func() { responses <- tr.send(t, http.MethodGet, "/hold") }()
			}
			for range held {
				<-tr.held
			}
		}, map[string]float64{"requests": held, "in flight": held}},
		{"released", func(t *testing.T) {
			close(tr.let)
			for range held {
				if status := <-responses; status != http.StatusOK {
					t.Errorf("held request: %d", status)
				}
			}
		}, map[string]float64{"in flight": -held, "responses 200": held}},
		{"tcp opened", func(t *testing.T) {
			tcp = privatePort(t, tr, "tcp")
			echoed(t, tcp)
		}, map[string]float64{"requests": 1, "in flight": 1, "tcp streams": 1}},
		{"tcp closed", func(*testing.T) { _ = tcp.Close() }, map[string]float64{"in flight": -1, "tcp streams": -1}},
		{"lost 1", tr.loseConnection, map[string]float64{"registrations": 1}},
		{"10 pages", requests(10, "/"), map[string]float64{"requests": 10, "responses 200": 10}},
	}
}

// loseConnection has the edge end one connection, and waits for the one that takes its place.
func (tr *traffic) loseConnection(t *testing.T) {
	t.Helper()
	list, err := tr.edge.Admin.ListConnections(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lost := list[0].ID
	if err := tr.edge.Admin.EvictConnection(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	testkit.Retry(t, "another connection", patience, func() error {
		list, err := tr.edge.Admin.ListConnections(t.Context())
		if err != nil {
			return err
		}
		active := 0
		for _, c := range list {
			if c.State == "active" && c.ID != lost {
				active++
			}
		}
		if active != connections {
			return fmt.Errorf("%d of %d", active, connections)
		}
		return nil
	})
}

// points are the values of the series by title, one for each step.
type points map[string][]float64

// TestDashboards runs the same script through ours and stock, and reads the ten series after each step: they are what the script
// implies, and so the same for both. The table and the plot (-artifacts) show both.
func TestDashboards(t *testing.T) {
	runs := make(map[string]points)
	var names []string
	each(t, func(t *testing.T, s subject) {
		tr := newTraffic(t)
		c := s.connect(t, tr.edge, "--protocol", "quic", "--url", tr.origin.URL, "--grace-period", "1s")
		steps, want, got := tr.script(), make(map[string]float64), make(points)
		names = nil
		for _, st := range steps {
			names = append(names, st.name)
			st.do(t)
			for title, n := range st.adds {
				want[title] += n
			}
			last := c.await(t, st.name, want)
			for title, v := range last {
				got[title] = append(got[title], v)
			}
		}
		runs[s.name] = got
	})
	table := compared(names, runs)
	t.Logf("the ten series of dashboards, after each step of the script:\n%s", table)
	dir := t.ArtifactDir()
	for name, text := range map[string]string{"dashboards.txt": table, "dashboards.svg": plot(names, runs)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// await reads the series until they are as wanted, and returns them.
func (c *connector) await(t *testing.T, step string, want map[string]float64) map[string]float64 {
	t.Helper()
	var got map[string]float64
	testkit.Retry(t, step, patience, func() error {
		f := c.metricFamilies(t)
		got = make(map[string]float64)
		for _, p := range dashboard() {
			// A family with labels does not exist before its first sample: a dashboard shows nothing, which is 0 here.
			v := max(0, f.value(p.family, p.labels...))
			got[p.title] = v
			switch {
			case p.measured && len(f[p.family].GetMetric()) < connections:
				return fmt.Errorf("%s: %d series, want %d", p.title, len(f[p.family].GetMetric()), connections)
			case !p.measured && v != want[p.title]:
				return fmt.Errorf("%s: %v, want %v", p.title, v, want[p.title])
			}
		}
		return nil
	})
	return got
}

// compared is a table with a row for each series and connector, and a column for each step.
func compared(steps []string, runs map[string]points) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "series\tconnector\t%s\t\n", strings.Join(steps, "\t"))
	for _, p := range dashboard() {
		for _, name := range []string{"culvert", "cloudflared"} {
			values, ok := runs[name][p.title]
			if !ok {
				continue
			}
			fmt.Fprintf(w, "%s\t%s", p.title, name)
			for _, v := range values {
				fmt.Fprintf(w, "\t%.4g", v)
			}
			fmt.Fprint(w, "\t\n")
		}
	}
	_ = w.Flush() // to memory
	return b.String()
}

// plot draws each series as a panel with a line for each connector.
func plot(steps []string, runs map[string]points) string {
	const width, height, margin = 300, 110, 30
	colours := map[string]string{"culvert": "#1565c0", "cloudflared": "#ef6c00"}
	panels := dashboard()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="10">`+"\n",
		2*(width+margin), (len(panels)+1)/2*(height+margin)+margin)
	for i, p := range panels {
		x, y := margin/2+i%2*(width+margin), margin+i/2*(height+margin)
		top := 1.0
		for values := range maps.Values(runs) {
			for _, v := range values[p.title] {
				top = max(top, v)
			}
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d">%s (to %.4g)</text><rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#ccc"/>`+"\n",
			x, y-4, p.title, top, x, y, width, height)
		for name, colour := range colours {
			var line []string
			for n, v := range runs[name][p.title] {
				line = append(line, fmt.Sprintf("%d,%.1f", x+n*width/max(1, len(steps)-1), float64(y)+height*(1-v/top)))
			}
			dash := ""
			if name == "cloudflared" {
				dash = ` stroke-dasharray="6 4"` // so that both are seen where they are equal
			}
			fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s/>`+"\n", strings.Join(line, " "), colour, dash)
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}
