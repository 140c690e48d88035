package opsapi_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/opsapi"
)

// TestOperations: each operation is complete, and its address and its name are its own.
func TestOperations(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range opsapi.Operations() {
		address := o.Method + " " + o.Path
		if seen[o.ID] || seen[address] {
			t.Errorf("%s %s is there twice", o.ID, address)
		}
		seen[o.ID], seen[address] = true, true
		if err := o.Scope.Validate(); err != nil || o.Summary == "" || o.Tag == "" || o.Status < 200 || o.Status > 299 {
			t.Errorf("%s: %v, summary %q, tag %q, status %d", o.ID, err, o.Summary, o.Tag, o.Status)
		}
		if o.Reply == nil && o.Media == "" && o.Status != 204 {
			t.Errorf("%s says nothing of its response", o.ID)
		}
		if o.Method != "GET" && o.Scope == opsapi.Read {
			t.Errorf("%s changes something, or shows secrets, and needs only %s", o.ID, o.Scope)
		}
		if got, found := opsapi.Find(o.Method, o.Route()); !found || got.ID != o.ID {
			t.Errorf("Find(%s, %s) = %s", o.Method, o.Route(), got.ID)
		}
	}
	if _, found := opsapi.Find("DELETE", "/tunnels"); found {
		t.Error("an operation was found that there is not")
	}
}

// TestOpenAPI: the document is JSON, its references resolve, and every field of this package's types is explained.
func TestOpenAPI(t *testing.T) {
	b, err := opsapi.OpenAPI(opsapi.Operations())
	if err != nil {
		t.Fatal(err)
	}
	again, err := opsapi.OpenAPI(opsapi.Operations())
	if err != nil || string(again) != string(b) {
		t.Errorf("a second document differs: %v", err)
	}
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]struct{ OperationID string }
		Components struct {
			Schemas map[string]struct {
				Properties map[string]map[string]any
			}
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Fatalf("version %q, %v", doc.OpenAPI, err)
	}
	n := 0
	for _, item := range doc.Paths {
		n += len(item)
	}
	if n != len(opsapi.Operations()) {
		t.Errorf("%d operations in the document, want %d", n, len(opsapi.Operations()))
	}
	for _, part := range strings.Split(string(b), "#/components/schemas/")[1:] {
		name, _, _ := strings.Cut(part, `"`)
		if _, found := doc.Components.Schemas[name]; !found {
			t.Errorf("the schema %s is missing", name)
		}
	}
	former := []string{
		"Desired", "DesiredTunnel", "WorkerMark", "Command", "TunnelSlots", "Configurations", "ProxyResult", "Configuration", "DocumentRequest",
	}
	for name, s := range doc.Components.Schemas {
		if strings.Contains(name, ".") || slices.Contains(former, name) {
			continue
		}
		for field, p := range s.Properties {
			if p["description"] == nil {
				t.Errorf("%s.%s is not explained", name, field)
			}
		}
	}
}

// TestPages: inner objects are shown with the path as the name, and a type that contains itself ends.
func TestPages(t *testing.T) {
	pages := opsapi.Pages(opsapi.Operations())
	i := slices.IndexFunc(pages, func(p opsapi.OperationPage) bool { return p.ID == "listTunnels" })
	if i < 0 || !slices.ContainsFunc(pages[i].Response, func(r opsapi.FieldRow) bool { return r.Name == "items[].health" && r.Doc != "" }) {
		t.Errorf("listTunnels is shown as %+v", pages[max(i, 0)])
	}
}

// TestPagesOfAList: all pages together are the list, also if an item disappears between two of them.
func TestPagesOfAList(t *testing.T) {
	var all []string
	for i := range 10 {
		all = append(all, fmt.Sprintf("k%d", i))
	}
	all[0] = ""
	key := func(s string) string { return s }
	for limit := 1; limit <= 11; limit++ {
		var got []string
		cursor, rest := "", slices.Clone(all)
		for {
			w, err := opsapi.ParseWindow(fmt.Sprint(limit), cursor)
			if err != nil {
				t.Fatal(err)
			}
			var page []string
			page, cursor = opsapi.Cut(rest, key, w)
			got = append(got, page...)
			if cursor == "" {
				break
			}
			rest = slices.DeleteFunc(rest, func(s string) bool { return s == page[len(page)-1] })
		}
		if diff := cmp.Diff(all, got); diff != "" {
			t.Errorf("limit %d: %s", limit, diff)
		}
	}
	for _, bad := range [][2]string{{"0", ""}, {"201", ""}, {"x", ""}, {"-1", ""}, {"", "!"}, {"", "Mg"}, {"", strings.Repeat("x", 2000)}} {
		if _, err := opsapi.ParseWindow(bad[0], bad[1]); err == nil {
			t.Errorf("limit %q and cursor %.20q were accepted", bad[0], bad[1])
		}
	}
}

// FuzzParseWindow: what is accepted is within the limits, and the cursor of its key is the same window.
func FuzzParseWindow(f *testing.F) {
	f.Add("5", opsapi.Cursor("k"))
	f.Add("", opsapi.Cursor(""))
	f.Add("200", "MTpr")
	f.Fuzz(func(t *testing.T, limit, cursor string) {
		w, err := opsapi.ParseWindow(limit, cursor)
		if err != nil {
			return
		}
		if w.Limit < 1 || w.Limit > opsapi.MaxLimit || w.Began != (cursor != "") {
			t.Fatalf("%+v", w)
		}
		if again, err := opsapi.ParseWindow(fmt.Sprint(w.Limit), opsapi.Cursor(w.After)); err != nil || w.Began && again != w {
			t.Fatalf("%+v came back as %+v, %v", w, again, err)
		}
	})
}
