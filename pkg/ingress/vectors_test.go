package ingress_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

// Each vector file is what the reference does. Where ours differs on purpose, the tables in these tests name the case and
// the difference of docs/spec/ingress.md 14.

// load reads a vector file; unknown fields are of no interest here.
func load[T any](t *testing.T, name string) T {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

// fromYAML decodes and compiles.
func fromYAML(text string) (*ingress.Set, error) {
	file, err := cfdfile.Parse("CONFIG", []byte(text))
	if err != nil {
		return nil, err
	}
	return ingress.Compile(file.Document)
}

// generic turns JSON text into maps and slices, for comparison by value.
func generic(t *testing.T, b []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, b)
	}
	return v
}

func report(t *testing.T, s *ingress.Set, flags map[string]string) map[string]any {
	t.Helper()
	b, err := s.ReportJSON(flags)
	if err != nil {
		t.Fatalf("ReportJSON: %v", err)
	}
	return generic(t, b).(map[string]any)
}

func endpoint(t *testing.T, s *ingress.Set, version int32) map[string]any {
	t.Helper()
	b, err := s.ConfigJSON(version)
	if err != nil {
		t.Fatalf("ConfigJSON: %v", err)
	}
	return generic(t, b).(map[string]any)
}

// at walks into generic JSON.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			v = v.(map[string]any)[p]
		case int:
			v = v.([]any)[p]
		}
	}
	return v
}

// blankIPRules empties the entries of ipRules, which the reference's /config cannot show and ours does (docs/spec/ingress.md D27).
func blankIPRules(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			if rules, ok := inner.([]any); ok && key == "ipRules" {
				for i := range rules {
					rules[i] = map[string]any{}
				}
				continue
			}
			blankIPRules(inner)
		}
	case []any:
		for _, inner := range v {
			blankIPRules(inner)
		}
	}
	return v
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", what, diff)
	}
}

func middleware(r *ingress.Rule) []string {
	if r.Origin.Access.Required {
		return []string{"AccessJWTValidator"}
	}
	return []string{}
}
