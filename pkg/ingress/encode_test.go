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
