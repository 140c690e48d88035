package live_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/live"
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
	set, err := live.Local(set, maxFlows)
	if err != nil {
		return nil, nil, nil, err
	}
	log := slog.New(slog.DiscardHandler)
	table, err := router.New(set, opener.New(log, nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(table.Close)
	reg := prometheus.NewRegistry()
	s, err := live.New(live.Config{Table: table, MaxActiveFlows: maxFlows, Logger: log, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	return s, table, reg, nil
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
			version, _ := s.Version()
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
	before := table.Current()
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
	if changed := table.Current() != before; changed != (step.Outcome == "applied") {
		t.Errorf("version %d: table changed: %v, outcome %s", step.Version, changed, step.Outcome)
	}
	if step.Endpoint == nil || step.Outcome != "applied" {
		return
	}
	b, err := s.ConfigJSON()
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
	if err != nil || len(families) != 1 {
		t.Fatalf("%d families, %v", len(families), err)
	}
	return families[0].GetMetric()[0].GetGauge().GetValue()
}

func TestOtherTunnel(t *testing.T) {
	s, table, _, err := start(t, "", "")
	if err != nil {
		t.Fatal(err)
	}
	rules := []byte(`{"ingress":[{"service":"http_status:404"}]}`)
	if v, err := s.Apply(t.Context(), remoteconfig.Update{Tunnel: tunnel.ID{1}, Version: 3, Document: rules}); v != 3 || err != nil {
		t.Fatalf("%d, %v", v, err)
	}
	before := table.Current()
	v, err := s.Apply(t.Context(), remoteconfig.Update{Tunnel: tunnel.ID{2}, Version: 9, Document: rules})
	if v != remoteconfig.LocalVersion || err == nil || !strings.Contains(err.Error(), "another tunnel") {
		t.Errorf("%d, %v", v, err)
	}
	if table.Current() != before {
		t.Error("the table changed")
	}
	if !s.Serves(tunnel.ID{1}) || s.Serves(tunnel.ID{2}) {
		t.Error("pushed rules must serve their own tunnel and no other")
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
	if _, rejected := s.Version(); rejected != "" {
		t.Errorf("rejected: %s", rejected)
	}
}
