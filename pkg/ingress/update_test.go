package ingress_test

import (
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

type updateCase struct {
	Name         string            `json:"name"`
	LocalYAML    string            `json:"local_yaml"`
	Flags        map[string]string `json:"configuration_flags"`
	StartupError string            `json:"startup_error"`
	Initial      state             `json:"initial"`
	Steps        []struct {
		state
		Version int32   `json:"version"`
		Config  string  `json:"config"`
		Outcome string  `json:"outcome"`
		Applied int32   `json:"last_applied_version"`
		Error   *string `json:"error"`
	} `json:"steps"`
}

type state struct {
	Endpoint map[string]any `json:"config_endpoint"`
	Reported map[string]any `json:"reported_to_edge"`
}

// TestUpdateVectors replays the pushes as far as they concern parsing, validation and reports; versions, start of services
// and swapping belong to the proxy.
func TestUpdateVectors(t *testing.T) {
	const (
		durationText = `strconv.ParseInt: parsing "\"10s\"": invalid syntax`
		startFault   = "failed to start origin: "
	)
	for _, c := range load[struct{ Cases []updateCase }](t, "remote_updates").Cases {
		t.Run(c.Name, func(t *testing.T) {
			set, err := c.initial(t)
			if c.StartupError != "" {
				if err == nil || err.Error() != c.StartupError {
					t.Fatalf("error %v, want %q", err, c.StartupError)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkState(t, set, -1, c.Flags, c.Initial)
			version := int32(-1)
			for _, step := range c.Steps {
				if step.Version <= version {
					continue // ignored before parsing
				}
				next, err := c.push(step.Config)
				switch {
				case step.Error == nil:
					if err != nil {
						t.Fatalf("version %d: %v", step.Version, err)
					}
					set, version = next, step.Version
				case *step.Error == durationText:
					// Section 14, kept on purpose: a duration text is accepted in JSON, too.
					if err != nil || next.OriginRequest.ConnectTimeout.String() != "10s" {
						t.Errorf("version %d: %v, want the text to be read", step.Version, err)
					}
				case len(*step.Error) > len(startFault) && (*step.Error)[:len(startFault)] == startFault:
					if err != nil {
						t.Errorf("version %d: %v, want a valid document whose service cannot start", step.Version, err)
					}
				default:
					checkJSONError(t, err, *step.Error)
				}
				if version != step.Applied {
					t.Errorf("version %d after %d, want %d", version, step.Version, step.Applied)
				}
				checkState(t, set, version, c.Flags, step.state)
			}
		})
	}
}

func (c *updateCase) initial(t *testing.T) (*ingress.Set, error) {
	t.Helper()
	set := ingress.Default503()
	if c.LocalYAML != "" {
		var err error
		if set, err = fromYAML(c.LocalYAML); err != nil {
			return nil, err
		}
	}
	return c.local(set)
}

// local lays the local flag over the limit.
func (c *updateCase) local(set *ingress.Set) (*ingress.Set, error) {
	if text, ok := c.Flags["max-active-flows"]; ok {
		return set.WithMaxActiveFlows(text)
	}
	return set, nil
}

func (c *updateCase) push(config string) (*ingress.Set, error) {
	doc, err := ingress.ParseJSON([]byte(config))
	if err != nil {
		return nil, err
	}
	set, err := ingress.CompileRemote(doc)
	if err != nil {
		return nil, err
	}
	return c.local(set)
}

func checkState(t *testing.T, set *ingress.Set, version int32, flags map[string]string, want state) {
	t.Helper()
	realDefaults(t, want)
	same(t, "endpoint", blankIPRules(endpoint(t, set, version)), any(want.Endpoint))
	same(t, "report", report(t, set, flags), want.Reported)
}

// realDefaults rewrites the recorded zero values of the default rule to the real defaults (docs/spec/ingress.md D27).
func realDefaults(t *testing.T, s state) {
	t.Helper()
	if at(s.Reported, "ingress", 0, "service") != "http_status:503" {
		return
	}
	at(s.Reported, "ingress", 0).(map[string]any)["originRequest"] = map[string]any{}
	full := at(endpoint(t, ingress.Default503(), 0), "config", "originRequest")
	at(s.Endpoint, "config", "ingress", 0).(map[string]any)["originRequest"] = full
	if at(s.Endpoint, "config", "originRequest", "connectTimeout") == 0.0 {
		at(s.Endpoint, "config").(map[string]any)["originRequest"] = full
	}
}

func TestReportTakesOnlyKnownFlags(t *testing.T) {
	got := report(t, ingress.Default503(), map[string]string{"protocol": "quic", "credentials-contents": "x"})
	same(t, "flags", got["__configuration_flags"], any(map[string]any{"protocol": "quic"}))
}

func TestEmptyDocument(t *testing.T) {
	if _, err := ingress.Compile(ingress.Document{}); err != ingress.ErrNoIngress { //nolint:errorlint // the sentinel itself
		t.Errorf("Compile() = %v", err)
	}
	set, err := ingress.CompileRemote(ingress.Document{})
	if err != nil {
		t.Fatal(err)
	}
	if rule, i := set.Match("any", "/"); i != 0 || rule.Service.Text() != "http_status:503" {
		t.Errorf("Match() = %d %s", i, rule.Service.Text())
	}
}
