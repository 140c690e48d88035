package supervisor

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// schemaOf is a JSON schema of the document, as far as requests need it.
type schemaOf struct {
	Ref                  string               `json:"$ref"`
	Type                 string               `json:"type"`
	Format               string               `json:"format"`
	Properties           map[string]*schemaOf `json:"properties"`
	Items                *schemaOf            `json:"items"`
	AdditionalProperties *schemaOf            `json:"additionalProperties"`
}

// document is the OpenAPI document, as far as requests need it.
type document struct {
	Paths map[string]map[string]struct {
		OperationID string
		Parameters  []struct {
			Name, In string
			Schema   schemaOf
		}
		RequestBody struct {
			Content map[string]struct{ Schema schemaOf }
		}
	}
	Components struct{ Schemas map[string]*schemaOf }
}

// maker makes values by a schema: mostly valid ones.
type maker struct {
	*rand.Rand
	doc *document
	// known are values that name things that there are.
	known []string
}

func (m maker) text() string {
	odd := []string{
		"", "x", "\x00", "../..", "%2e%2e", "é\u202e", strings.Repeat("a", 5000), "0", "-1", "1e9", "30s", "read", "admin", "quic", "http2",
		"{}", "*", "192.0.2.1:7844", "\"7\"", "MTp4", "00000000-0000-0000-0000-000000000001",
	}
	if m.IntN(3) == 0 {
		return m.known[m.IntN(len(m.known))]
	}
	return odd[m.IntN(len(odd))]
}

func (m maker) value(s *schemaOf, depth int) any {
	if s == nil || depth > 6 || m.IntN(25) == 0 { // something else than the schema says
		return []any{nil, true, -1, 1e30, "x", []any{}, map[string]any{"x": 1}}[m.IntN(7)]
	}
	if s.Ref != "" {
		return m.value(m.doc.Components.Schemas[s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]], depth+1)
	}
	switch s.Type {
	case "object":
		out := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) { // so that the seed decides
			if m.IntN(4) > 0 {
				out[name] = m.value(s.Properties[name], depth+1)
			}
		}
		if s.AdditionalProperties != nil {
			out[m.text()] = m.value(s.AdditionalProperties, depth+1)
		}
		return out
	case "array":
		return []any{m.value(s.Items, depth+1)}
	case "integer":
		return []any{0, 1, 2, 7, 255, 256, -1, 1 << 40, 0.5}[m.IntN(9)]
	case "boolean":
		return m.IntN(2) == 0
	case "string":
		if s.Format == "uuid" && m.IntN(4) > 0 {
			return m.known[0]
		}
		return m.text()
	}
	return map[string]any{"ingress": []any{map[string]any{"service": m.text()}}} // any JSON: a configuration
}

// request makes a request of an operation.
func (m maker) request(method, path string) *http.Request {
	op := m.doc.Paths[path][method]
	query, header := url.Values{}, map[string]string{}
	for _, p := range op.Parameters {
		text, ok := m.value(&p.Schema, 0).(string)
		if !ok {
			text = m.text()
		}
		switch p.In {
		case "path":
			path = strings.ReplaceAll(path, "{"+p.Name+"}", url.PathEscape(text))
		case "query":
			if m.IntN(2) == 0 {
				query.Set(p.Name, text)
			}
		case "header":
			if m.IntN(3) == 0 && !strings.ContainsAny(text, "\x00") {
				header[p.Name] = text
			}
		}
	}
	body := ""
	if c, found := op.RequestBody.Content["application/json"]; found {
		b, err := json.Marshal(m.value(&c.Schema, 0))
		if err == nil {
			body = string(b)
		}
		if m.IntN(15) == 0 {
			body = body[:m.IntN(len(body)+1)]
		}
	}
	req := httptest.NewRequest(strings.ToUpper(method), "http://localhost"+path+"?"+query.Encode(), strings.NewReader(body))
	for name, value := range header {
		req.Header.Set(name, value)
	}
	return req
}

// TestRandomRequests makes valid and invalid requests of every operation from the served document: none is a failure of the server.
func TestRandomRequests(t *testing.T) {
	a := connectedLab(t)
	var doc document
	if err := json.Unmarshal(a.do("GET", "/openapi.json", "", nil).Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	m := maker{Rand: rand.New(rand.NewPCG(1, 2)), doc: &doc, known: []string{a.id.String(), "w1", "1", "0", "none"}}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(doc.Paths[path])) {
			id := doc.Paths[path][method].OperationID
			if id == "streamEvents" {
				continue // it does not end; TestStream has it
			}
			valid := false
			for range 150 {
				req := m.request(method, path)
				rec := httptest.NewRecorder()
				a.echo.ServeHTTP(rec, req)
				if rec.Code >= http.StatusInternalServerError {
					t.Errorf("%s %s: %d %s", req.Method, req.URL, rec.Code, rec.Body)
				}
				if rec.Code >= http.StatusBadRequest && rec.Header().Get("Content-Type") != "application/problem+json" {
					t.Errorf("%s %s: %d without a problem document: %s", req.Method, req.URL, rec.Code, rec.Body)
				}
				valid = valid || rec.Code < http.StatusBadRequest
			}
			if !valid && method == "get" && id != "getCommand" { // there may be no command
				t.Errorf("%s: no request was valid", id)
			}
		}
	}
}
