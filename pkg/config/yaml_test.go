package config_test

import (
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/config"
)

func TestYAML(t *testing.T) {
	got, err := config.YAML([]map[string]any{{"b": "x y", "a": 1, "c": []string{}, "d": "2026-01-02T03:04:05Z", "e": "true"}})
	want := "- a: 1\n  b: x y\n  c: []\n  d: \"2026-01-02T03:04:05Z\"\n  e: \"true\"\n"
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
	if _, err := config.YAML(func() {}); err == nil {
		t.Error("a function has a YAML form")
	}
}
