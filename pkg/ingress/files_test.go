package ingress_test

import (
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

func TestFilesService(t *testing.T) {
	for text, want := range map[string]string{
		"file:///srv/www": "/srv/www", "file:///srv//a/../www/": "/srv/www", "file:///srv/a%20b": "/srv/a%20b",
	} {
		set, err := ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{{Service: text}}})
		if err != nil {
			t.Fatal(err)
		}
		s := set.Rules[0].Service
		if s.Kind != ingress.KindFiles || s.Path != want || s.Text() != "file://"+want || s.OriginScheme() != "" {
			t.Errorf("%s: %+v, %s", text, s, s.Text())
		}
		if e := set.Explain(ingress.Get("h", "/")); !strings.HasSuffix(e.Origin, "files below "+want) || e.Changes != nil {
			t.Errorf("%s: explained as %q, %q", text, e.Origin, e.Changes)
		}
	}
	for _, text := range []string{"file:///", "file:////", "file:///a/..", "file:///a\x00"} {
		if _, err := ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{{Service: text}}}); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
	// With a host it is what it is for the reference: an unknown scheme.
	set, err := ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{{Service: "file://host"}}})
	if err != nil || set.Rules[0].Service.Kind != ingress.KindStream {
		t.Errorf("file://host: %v", err)
	}
	set, err = ingress.Compile(ingress.Document{Ingress: []ingress.RuleSpec{{
		Service: "http://a", Actions: &ingress.ActionsSpec{Listing: true},
	}}})
	if err != nil || !strings.Contains(strings.Join(set.Warnings(), " "), "listing has no effect") {
		t.Errorf("listing of an HTTP service: %v, %q", err, set.Warnings())
	}
}
