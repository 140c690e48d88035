package live_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/live"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/localrules"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/opener"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

type vectorCase struct {
	Name         string            `json:"name"`
	LocalYAML    string            `json:"local_yaml"`
	Flags        map[string]string `json:"configuration_flags"`
	StartupError string            `json:"startup_error"`
	Steps        []vectorStep      `json:"steps"`
	After        *vectorStep       `json:"after_shutdown"`
}

type vectorStep struct {
	Version  int32          `json:"version"`
	Config   string         `json:"config"`
	Outcome  string         `json:"outcome"`
	Applied  int32          `json:"last_applied_version"`
	Error    any            `json:"error"`
	Endpoint map[string]any `json:"config_endpoint"`
}

// differences are the recorded responses that ours differ from on purpose, by the reference's text; the value is ours, and
// "applied" means that we accept the document.
func differences() map[string]string {
	const array = "json: cannot unmarshal array into Go value of type "
	return map[string]string{
		// The name of the reference's own type; the rest of the text is the decoder's.
		array + "ingress.RemoteConfigJSON": array + "ingress.jsonDocument",
		// Section 14 of the ingress specification, kept on purpose: a duration text is accepted in JSON, too.
		`strconv.ParseInt: parsing "\"10s\"": invalid syntax`: "applied",
	}
}

func start(t *testing.T, yaml, maxFlows string) (*live.State, *router.Table, prometheus.Gatherer, error) {
	t.Helper()
	set := ingress.Default503()
	if yaml != "" {
		file, err := cfdfile.Parse("config.yml", []byte(yaml))
		if err != nil {
			t.Fatal(err)
		}
		compiled, err := ingress.Compile(file.Document)
		if err == nil {
			set = compiled
		} else if !errors.Is(err, ingress.ErrNoIngress) {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	reg := prometheus.NewRegistry()
	s, err := live.New(live.Config{
		Rules: localrules.Rules{General: set}, Opener: opener.New(log, nil), MaxActiveFlows: maxFlows, Logger: log, Registerer: reg,
	})
	if err != nil {
		return nil, nil, nil, err
	}
	t.Cleanup(s.Table().Close)
	return s, s.Table(), reg, nil
}

func TestUpdateVectors(t *testing.T) {
	b, err := os.ReadFile("testdata/remote_updates.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []vectorCase `json:"cases"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			s, table, reg, err := start(t, c.LocalYAML, c.Flags["max-active-flows"])
			if c.StartupError != "" {
				if err == nil || err.Error() != c.StartupError {
					t.Errorf("start: %v, want %s", err, c.StartupError)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// ahead is a version that we applied and the reference did not.
			ahead := remoteconfig.LocalVersion
			for _, step := range c.Steps {
				checkStep(t, s, table, step, &ahead, seen)
			}
			if c.After != nil {
				s.Close()
				checkStep(t, s, table, *c.After, &ahead, seen)
			}
			version, _ := s.Version(tunnel.ID{1})
			if got := gauge(t, reg); got != float64(version) {
				t.Errorf("gauge %v, want %d", got, version)
			}
		})
	}
	if len(seen) != len(differences()) {
		t.Errorf("differences seen: %v", seen)
	}
}

func checkStep(t *testing.T, s *live.State, table *router.Table, step vectorStep, ahead *int32, seen map[string]bool) {
	t.Helper()
	before := table.For(tunnel.ID{1})
	applied, err := s.Apply(t.Context(), remoteconfig.Update{Tunnel: tunnel.ID{1}, Version: step.Version, Document: []byte(step.Config)})
	var rejected *remoteconfig.RejectedError
	want, _ := step.Error.(string)
	if other, ok := differences()[want]; ok {
		seen[want] = true
		want = other
	}
	if want == "applied" {
		*ahead = step.Version
		if err != nil || applied != step.Version {
			t.Errorf("version %d: %d, %v", step.Version, applied, err)
		}
		return
	}
	wantApplied := max(step.Applied, *ahead)
	switch {
	case applied != wantApplied:
		t.Errorf("version %d: applied %d, want %d", step.Version, applied, wantApplied)
	case want == "" && err != nil, want != "" && (!errors.As(err, &rejected) || rejected.Reason != want):
		t.Errorf("version %d: %v, want %q", step.Version, err, want)
	}
	if changed := table.For(tunnel.ID{1}) != before; changed != (step.Outcome == "applied") {
		t.Errorf("version %d: table changed: %v, outcome %s", step.Version, changed, step.Outcome)
	}
	if step.Endpoint == nil || step.Outcome != "applied" {
		return
	}
	b, err := s.ConfigJSON(tunnel.ID{1})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil || got["version"] != step.Endpoint["version"] {
		t.Errorf("version %d: /config shows %v, %v", step.Version, got["version"], err)
	}
}

func gauge(t *testing.T, reg prometheus.Gatherer) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "culvert_proxy_config_version" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("no version among the metrics")
	return 0
}

// TestTunnelsHaveVersionsOfTheirOwn pushes for two tunnels, and checks that neither changes the version, the rules or the errors of
// the other, nor those of a third tunnel, which has the local rules.
func TestTunnelsHaveVersionsOfTheirOwn(t *testing.T) {
	s, table, reg, err := start(t, "", "")
	if err != nil {
		t.Fatal(err)
	}
	first, second, third := tunnel.ID{1}, tunnel.ID{2}, tunnel.ID{3}
	push := func(id tunnel.ID, version int32, doc string) (int32, error) {
		return s.Apply(t.Context(), remoteconfig.Update{Tunnel: id, Version: version, Document: []byte(doc)})
	}
	rules := func(status int) string { return fmt.Sprintf(`{"ingress":[{"service":"http_status:%d"}]}`, status) }
	if v, err := push(first, 9, rules(404)); v != 9 || err != nil {
		t.Fatalf("first: %d, %v", v, err)
	}
	before := table.For(first)
	if v, err := push(second, 3, rules(410)); v != 3 || err != nil {
		t.Fatalf("second, a lower version than the other tunnel's: %d, %v", v, err)
	}
	if v, err := push(second, 4, "[]"); v != 3 || err == nil {
		t.Errorf("second, bad document: %d, %v", v, err)
	}
	if v, err := push(first, 8, rules(500)); v != 9 || err != nil {
		t.Errorf("first, an older version: %d, %v", v, err)
	}
	if table.For(first) != before {
		t.Error("pushes of another tunnel, and older ones, replaced the rules of the first")
	}
	for id, want := range map[tunnel.ID]string{first: "http_status:404", second: "http_status:410", third: "http_status:503"} {
		if got := table.For(id).Routes()[0].Origin.Text; got != want {
			t.Errorf("%s has %s, want %s", id, got, want)
		}
	}
	if _, rejected := s.Version(first); rejected != "" {
		t.Errorf("first has the error of another tunnel: %s", rejected)
	}
	if v, rejected := s.Version(second); v != 3 || rejected == "" {
		t.Errorf("second: version %d, rejected %q", v, rejected)
	}
	if v, _ := s.Version(third); v != remoteconfig.LocalVersion {
		t.Errorf("third: version %d", v)
	}
	if got := s.Tunnels(); !slices.Equal(got, []tunnel.ID{first, second}) {
		t.Errorf("tunnels %v", got)
	}
	want := `
# HELP culvert_proxy_configured_tunnels Tunnels with a pushed configuration in force.
# TYPE culvert_proxy_configured_tunnels gauge
culvert_proxy_configured_tunnels 2
# HELP culvert_proxy_tunnel_config_version Version of the pushed configuration in force of a tunnel, for the first 100 tunnels that get one.
# TYPE culvert_proxy_tunnel_config_version gauge
culvert_proxy_tunnel_config_version{tunnel_id="01000000-0000-0000-0000-000000000000"} 9
culvert_proxy_tunnel_config_version{tunnel_id="02000000-0000-0000-0000-000000000000"} 3
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "culvert_proxy_configured_tunnels",
		"culvert_proxy_tunnel_config_version"); err != nil {
		t.Error(err)
	}
}

// TestTimeSeriesAreBounded pushes for more tunnels than may have a time series.
func TestTimeSeriesAreBounded(t *testing.T) {
	s, _, reg, err := start(t, "", "")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 103 {
		if _, err := s.Apply(t.Context(), remoteconfig.Update{Tunnel: tunnel.ID{byte(i), 1}, Version: 1, Document: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := testutil.GatherAndCount(reg, "culvert_proxy_tunnel_config_version"); n != 100 || err != nil {
		t.Errorf("%d time series, %v", n, err)
	}
}

// TestReplaceLocal replaces the local rules of two tunnels, one of which the edge has configured: pushed rules go before local ones, and a
// set that cannot be used changes nothing.
func TestReplaceLocal(t *testing.T) {
	s, table, _, err := start(t, "", "")
	if err != nil {
		t.Fatal(err)
	}
	first, second, third := tunnel.ID{1}, tunnel.ID{2}, tunnel.ID{3}
	set := func(service string) *ingress.Set {
		missing := "/does/not/exist"
		doc := ingress.Document{Ingress: []ingress.RuleSpec{{Service: service}}}
		if service == "https://bad" {
			doc.Ingress[0].OriginRequest.CAPool = &missing
		}
		compiled, err := ingress.Compile(doc)
		if err != nil {
			t.Fatal(err)
		}
		return compiled
	}
	local := func(general string, tunnels map[tunnel.ID]string) error {
		rules := localrules.Rules{General: set(general), Tunnels: map[tunnel.ID]*ingress.Set{}}
		for id, service := range tunnels {
			rules.Tunnels[id] = set(service)
		}
		return s.ReplaceLocal(rules)
	}
	serves := func(when string, want ...string) {
		t.Helper()
		for i, id := range []tunnel.ID{first, second, third} {
			if got := table.For(id).Routes()[0].Origin.Text; got != want[i] {
				t.Errorf("%s: %s has %s, want %s", when, id, got, want[i])
			}
		}
	}
	if err := local("http_status:200", map[tunnel.ID]string{first: "http_status:201", second: "http_status:202"}); err != nil {
		t.Fatal(err)
	}
	serves("local rules of two tunnels", "http_status:201", "http_status:202", "http_status:200")
	if st := s.Status(); len(st.Tunnels) != 2 || st.Tunnels[0].Version != remoteconfig.LocalVersion || st.Tunnels[0].RuleCount != 1 {
		t.Errorf("status %+v", st)
	}
	doc := []byte(`{"ingress":[{"service":"http_status:418"}]}`)
	if _, err := s.Apply(t.Context(), remoteconfig.Update{Tunnel: first, Version: 5, Document: doc}); err != nil {
		t.Fatal(err)
	}
	if err := local("http_status:500", map[tunnel.ID]string{second: "http_status:502", third: "https://bad"}); err == nil {
		t.Error("rules with a missing CA file are no error")
	}
	serves("after a bad set", "http_status:418", "http_status:202", "http_status:200")
	if err := local("http_status:210", map[tunnel.ID]string{first: "http_status:211", third: "http_status:213"}); err != nil {
		t.Fatal(err)
	}
	serves("after a further set", "http_status:418", "http_status:210", "http_status:213")
	if v, _ := s.Version(first); v != 5 {
		t.Errorf("version %d after new local rules", v)
	}
}

// TestRestore starts twice with the same state directory, the second time without an edge: the versions in force are those of the first
// time, and do not go back.
func TestRestore(t *testing.T) {
	dir := t.TempDir()
	start := func() *live.State {
		t.Helper()
		log := slog.New(slog.DiscardHandler)
		s, err := live.New(live.Config{
			Rules: localrules.Rules{General: ingress.Default503()}, Opener: opener.New(log, nil), StateDir: dir, Logger: log,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Table().Close)
		s.Restore(t.Context())
		return s
	}
	push := func(s *live.State, id tunnel.ID, version int32, doc string) (int32, error) {
		return s.Apply(t.Context(), remoteconfig.Update{Tunnel: id, Version: version, Document: []byte(doc)})
	}
	one, two := tunnel.ID{1}, tunnel.ID{2}
	first := start()
	for _, status := range []int32{404, 410} {
		if _, err := push(first, one, status, fmt.Sprintf(`{"ingress":[{"service":"http_status:%d"}]}`, status)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := push(first, one, 500, "[]"); err == nil { // rejected, so not kept
		t.Fatal("a bad document was accepted")
	}
	if _, err := push(first, two, 0, `{"ingress":[{"service":"http_status:418"}]}`); err != nil {
		t.Fatal(err)
	}
	again := start()
	for id, want := range map[tunnel.ID]string{one: "http_status:410", two: "http_status:418", {3}: "http_status:503"} {
		if got := again.Table().For(id).Routes()[0].Origin.Text; got != want {
			t.Errorf("%s has %s after the restart, want %s", id, got, want)
		}
	}
	if v, err := push(again, one, 404, `{"ingress":[{"service":"http_status:404"}]}`); v != 410 || err != nil {
		t.Errorf("an older version after the restart: %d, %v", v, err)
	}
	if v, err := push(again, one, 411, "{}"); v != 411 || err != nil {
		t.Errorf("a newer version after the restart: %d, %v", v, err)
	}
}

// stream is a flow as the handler sees it.
type stream struct {
	io.Reader
	out     []byte
	closed  bool
	aborted bool
}

func (s *stream) Write(p []byte) (int, error) { s.out = append(s.out, p...); return len(p), nil }
func (s *stream) Buffer(p []byte) error       { s.out = append(s.out, p...); return nil }
func (s *stream) CloseWrite() error           { s.closed = true; return nil }
func (s *stream) Abort()                      { s.aborted = true }

func TestFlow(t *testing.T) {
	s, _, _, err := start(t, "", "")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(text string) *stream {
		st := &stream{Reader: strings.NewReader(text)}
		s.ServeStream(context.Background(), link.Meta{Kind: link.KindConfig, Tunnel: tunnel.ID{1}}, st)
		return st
	}
	request := func(v int32, config string) string {
		return string(remoteconfig.Update{Version: v, Document: []byte(config)}.Append(nil))
	}
	for _, c := range []struct {
		request string
		want    remoteconfig.Result
	}{
		{request(2, "[]"), remoteconfig.Result{
			Applied:   -1,
			Rejection: "json: cannot unmarshal array into Go value of type ingress.jsonDocument",
		}},
		{request(2, "{}"), remoteconfig.Result{Applied: 2}},
		{request(1, "no json"), remoteconfig.Result{Applied: 2}},
		{request(3, strings.Repeat(" ", remoteconfig.MaxUpdate)), remoteconfig.Result{Applied: 2, Rejection: "configuration is too large"}},
	} {
		st := ask(c.request)
		if a, err := remoteconfig.ParseResult(st.out); err != nil || a != c.want || !st.closed || st.aborted {
			t.Errorf("%.20q: %+v, %v, want %+v", c.request, a, err, c.want)
		}
	}
	if st := ask("abc"); !st.aborted || st.closed {
		t.Error("a short request is answered")
	}
	if _, rejected := s.Version(tunnel.ID{1}); rejected != "" {
		t.Errorf("rejected: %s", rejected)
	}
}
