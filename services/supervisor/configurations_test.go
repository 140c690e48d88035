package supervisor

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// TestConfigurations: versions are made by compare-and-set, checked first, sealed in the store, and can be restored.
func TestConfigurations(t *testing.T) {
	a := caller{lab: newLab(t, 2), echo: echo.New()}
	s := a.start("s1", a.store)
	a.echo.HTTPErrorHandler = ops.ErrorHandler(s.log)
	s.Routes(a.echo.Group("/v1"))
	path := "/tunnels/" + a.id.String() + "/config"
	put := func(version uint64, rest string) (all opsapi.Configurations, code int) {
		code = a.call("PUT", path, fmt.Sprintf(`{"version":%d,"author":"ann",%s}`, version, rest), &all)
		return all, code
	}
	var all opsapi.Configurations
	if code := a.call("GET", path, "", &all); code != http.StatusOK || len(all.Versions) != 0 {
		t.Fatalf("before any: %d, %+v", code, all)
	}
	const first = `{"ingress":[{"service":"http://user:secret@h"}]}`
	all, code := put(0, `"config":`+first)
	one := all.Newest()
	if code != http.StatusOK || one.Number == 0 || one.Push != -1 || one.Author != "ann" || len(one.Hash) != 32 {
		t.Fatalf("the first: %d, %+v", code, all)
	}
	if err := a.store.ReportRules(t.Context(), a.id, rules.Result{Proxy: "p", InForce: one.Position}); err != nil {
		t.Fatal(err)
	}
	all, code = put(one.Number, `"config":{"ingress":[{"service":"http_status:404"}]}`)
	two := all.Newest()
	if code != http.StatusOK || two.Number <= one.Number || two.Hash == one.Hash || all.Proxies[0].State != rules.Pending {
		t.Fatalf("the second: %d, %+v", code, all)
	}
	all, code = put(two.Number, fmt.Sprintf(`"restore":%d`, one.Number))
	if three := all.Newest(); code != http.StatusOK || three.RestoredFrom != one.Number || three.Hash != one.Hash {
		t.Errorf("restored: %d, %+v", code, all)
	}
	var doc opsapi.Configuration
	if code := a.call("POST", path+"/document", `{}`, &doc); code != http.StatusOK || string(doc.Config) != first {
		t.Errorf("the newest document: %d, %s", code, doc.Config)
	}
	code = a.call("POST", path+"/document", fmt.Sprintf(`{"version":%d}`, two.Number), &doc)
	if code != http.StatusOK || doc.Number != two.Number {
		t.Errorf("the second document: %d, %+v", code, doc)
	}
	h, err := a.store.Rules(t.Context(), a.id, one.Number)
	if v, found := h.Find(one.Number); err != nil || !found || v.Sealed == "" || strings.Contains(v.Sealed, "secret") {
		t.Errorf("stored: %+v, %v", v, err)
	}
	for rest, want := range map[string]int{
		`"config":{"ingress":[{"service":"nonsense"}]}`: http.StatusBadRequest,
		`"config":` + first:                             http.StatusConflict,
		`"restore":5`:                                   http.StatusNotFound,
	} {
		if _, code := put(two.Number, rest); code != want {
			t.Errorf("%s: %d, want %d", rest, code, want)
		}
	}
	if code := a.call("POST", path+"/document", `{"version":5}`, nil); code != http.StatusNotFound {
		t.Errorf("an unknown document: %d", code)
	}
	former, latter := bytes.Repeat([]byte("k"), rules.MinKey), bytes.Repeat([]byte("o"), rules.MinKey)
	if err := s.api.Key.Replace(slices.Concat(latter, []byte("\n"), former)); err != nil {
		t.Fatal(err)
	}
	var anew opsapi.Resealed
	for i, want := range []int{3, 0} {
		if code := a.call("POST", path+"/reseal", `{}`, &anew); code != http.StatusOK || len(anew.Sealed) != want || len(anew.Unreadable) != 0 {
			t.Errorf("sealed anew, %d: %d, %+v", i, code, anew)
		}
	}
	if err := s.api.Key.Replace(latter); err != nil {
		t.Fatal(err)
	}
	code = a.call("POST", path+"/document", fmt.Sprintf(`{"version":%d}`, one.Number), &doc)
	if code != http.StatusOK || string(doc.Config) != first {
		t.Errorf("the first document without the former key: %d, %s", code, doc.Config)
	}
	if s.api.Key, err = rules.NewKey(bytes.Repeat([]byte("x"), rules.MinKey)); err != nil {
		t.Fatal(err)
	}
	if code := a.call("POST", path+"/reseal", `{}`, &anew); code != http.StatusOK || len(anew.Sealed) != 0 || len(anew.Unreadable) != 3 {
		t.Errorf("sealed anew without their key: %d, %+v", code, anew)
	}
	if code := a.call("POST", path+"/document", `{}`, nil); code != http.StatusConflict {
		t.Errorf("a document under another key: %d", code)
	}
}

// TestNoKey: a supervisor without a key says which setting is missing.
func TestNoKey(t *testing.T) {
	s, err := New(Default(), Deps{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	a := caller{lab: newLab(t, 2), echo: echo.New()}
	s.Routes(a.echo.Group("/v1"))
	if code := a.call("GET", "/tunnels/"+a.id.String()+"/config", "", nil); code != http.StatusNotImplemented {
		t.Errorf("without a key: %d", code)
	}
}

// TestConfigurationsFromElsewhere: what came by push or file is in the history between the operator's versions, says who serves it, and can
// be shown and put in force.
func TestConfigurationsFromElsewhere(t *testing.T) {
	a := caller{lab: newLab(t, 2), echo: echo.New()}
	s := a.start("s1", a.store)
	a.echo.HTTPErrorHandler = ops.ErrorHandler(s.log)
	s.Routes(a.echo.Group("/v1"))
	path := "/tunnels/" + a.id.String() + "/config"
	note := func(id tunnel.ID, source rules.Source, push int32, document string) rules.Head {
		t.Helper()
		v := rules.Stored{
			Head: rules.Head{Position: rules.Position{Push: push}, Author: "p", Source: source, Hash: s.api.Key.Hash([]byte(document))},
		}
		v.Sealed = s.api.Key.Seal(id, v.SealedFor(), []byte(document))
		n, err := a.store.NoteRules(t.Context(), id, v)
		if err != nil {
			t.Fatal(err)
		}
		v.Number = n
		return v.Head
	}
	report := func(id tunnel.ID, r rules.Result) {
		t.Helper()
		if err := a.store.ReportRules(t.Context(), id, r); err != nil {
			t.Fatal(err)
		}
	}
	const local, pushed = `{"ingress":[{"service":"http_status:201"}]}`, `{"ingress":[{"service":"http_status:202"}]}`
	file := note(tunnel.ID{}, rules.SourceFile, -1, local)
	report(tunnel.ID{}, rules.Result{Proxy: "p", InForce: rules.Local(), Hash: file.Hash})
	history := func(want ...string) (all opsapi.Configurations) {
		t.Helper()
		if code := a.call("GET", path, "", &all); code != http.StatusOK {
			t.Fatalf("history: %d", code)
		}
		var got []string
		for _, v := range all.Versions {
			got = append(got, fmt.Sprintf("%s/%v/%v", v.Source, v.AllTunnels, v.InForceAt))
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("history %q, want %q", got, want)
		}
		return all
	}
	history("file/true/[p]")
	push := note(a.id, rules.SourcePush, 3, pushed)
	report(a.id, rules.Result{Proxy: "p", InForce: rules.Position{Push: 3}, Hash: push.Hash})
	if all := history("file/true/[]", "push/false/[p]"); all.Newest().Number != 0 || all.Proxies[0].State != "" {
		t.Errorf("without an operator's version: newest %+v, proxies %+v", all.Newest(), all.Proxies)
	}
	for number, want := range map[uint64]string{file.Number: local, push.Number: pushed} {
		var doc opsapi.Configuration
		code := a.call("POST", path+"/document", fmt.Sprintf(`{"version":%d}`, number), &doc)
		if code != http.StatusOK || string(doc.Config) != want {
			t.Errorf("document %d: %d, %s", number, code, doc.Config)
		}
	}
	var all opsapi.Configurations
	code := a.call("PUT", path, fmt.Sprintf(`{"version":0,"author":"ann","restore":%d}`, file.Number), &all)
	made := all.Newest()
	if code != http.StatusOK || made.RestoredFrom != file.Number || made.Hash != file.Hash || made.Push != 3 || made.Number <= push.Number {
		t.Fatalf("the file's rules put in force: %d, %+v", code, made)
	}
	report(a.id, rules.Result{Proxy: "p", InForce: made.Position})
	history("file/true/[]", "push/false/[]", "api/false/[p]")
}
