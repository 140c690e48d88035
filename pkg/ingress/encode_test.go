package ingress_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

// fill sets every pointer of a struct, so that a field that the encoder forgets is seen.
func fill(t *testing.T, object any) {
	t.Helper()
	v := reflect.ValueOf(object).Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		if f.Kind() != reflect.Pointer {
			continue
		}
		f.Set(reflect.New(f.Type().Elem()))
		switch e := f.Elem(); {
		case e.Type() == reflect.TypeFor[time.Duration]():
			e.SetInt(int64(time.Duration(i+1) * time.Second))
		case e.CanInt():
			e.SetInt(int64(i + 1))
		case e.CanUint():
			e.SetUint(uint64(i + 1))
		case e.Kind() == reflect.Bool:
			e.SetBool(true)
		case e.Kind() == reflect.String:
			e.SetString(v.Type().Field(i).Name)
		}
	}
}

func TestDocumentJSON(t *testing.T) {
	prefix := "10.0.0.0/8"
	rules := []ingress.IPRuleSpec{{Prefix: &prefix, Ports: []int{22}, Allow: true}, {}}
	var doc ingress.Document
	fill(t, &doc.OriginRequest)
	fill(t, &doc.WarpRouting)
	*doc.OriginRequest.Access = ingress.AccessSpec{Required: true, TeamName: "team", AudTag: []string{"a"}, Environment: "fed"}
	doc.OriginRequest.IPRules, doc.WarpRouting.IPRules = rules, rules
	doc.Ingress = []ingress.RuleSpec{
		{Hostname: "a.example.com", Path: "^/x", Service: "http://localhost:1", OriginRequest: doc.OriginRequest},
		{Service: "http_status:404"},
	}
	b, err := doc.JSON()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ingress.ParseJSON(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(doc, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	short := 1500 * time.Millisecond
	doc.Ingress[1].OriginRequest.TLSTimeout = &short
	if _, err := doc.JSON(); err == nil || !strings.Contains(err.Error(), "ingress rule 1: TLSTimeout is 1.5s") {
		t.Errorf("got %v", err)
	}
}

func TestAccessIssuer(t *testing.T) {
	const text = `{"ingress":[{"service":"http_status:204",
		"originRequest":{"access":{"required":true,"teamName":"","audTag":["a"],"issuer":"https://id.test"}}}]}`
	doc, err := ingress.ParseJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	set, err := ingress.Compile(doc) // an issuer takes the place of a team
	if err != nil {
		t.Fatal(err)
	}
	want := ingress.Access{Required: true, AudTag: []string{"a"}, Issuer: "https://id.test"}
	same(t, "access", set.Rules[0].Origin.Access, want)
	again, err := doc.JSON()
	if err != nil {
		t.Fatal(err)
	}
	second, err := ingress.ParseJSON(again)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "document after a round trip", second, doc)
	yaml, err := fromYAML("originRequest: {access: {required: true, audTag: [a], issuer: 'https://id.test'}}\n" +
		"ingress: [{service: 'http_status:204'}]")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "access from YAML", yaml.Rules[0].Origin.Access, want)
	bare, err := fromYAML("ingress: [{service: 'http_status:204', originRequest: {access: {required: true, teamName: t}}}]")
	if err != nil {
		t.Fatal(err)
	}
	if w := bare.Warnings(); len(w) != 1 || !strings.Contains(w[0], "audTag is empty") {
		t.Errorf("warnings %q, want one about the empty audTag", w)
	}
}

// TestNoJSONWithoutProtection: a rule whose conditions or actions could not be read is not written without them.
func TestNoJSONWithoutProtection(t *testing.T) {
	for _, rule := range []ingress.RuleSpec{
		{Service: "http_status:200", MatchFault: "it cannot be read"},
		{Service: "http_status:200", ActionsFault: "they cannot be read"},
	} {
		doc := ingress.Document{Ingress: []ingress.RuleSpec{{Service: "http_status:200"}, rule}}
		if b, err := doc.JSON(); err == nil || !strings.Contains(err.Error(), "ingress rule 1: ") {
			t.Errorf("%+v: got %s, %v, want an error that names the rule", rule, b, err)
		}
	}
}
