package reference_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/opsapi"
)

// openAPI is the document that a supervisor serves.
func openAPI(t *testing.T) string {
	t.Helper()
	b, err := opsapi.OpenAPI(opsapi.Operations())
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}

// apiPage lists the operations of the ops API, with the fields of their requests and responses.
func apiPage() string {
	var b strings.Builder
	b.WriteString("# Ops API\n\n" +
		"The operations of a supervisor, from the table in `pkg/opsapi`. [openapi.json](openapi.json) is the same for programs, and\n" +
		"[the guide](../api.md) says how to use them.\n\n| Operation | Scope | What it does |\n| --- | --- | --- |\n")
	pages := opsapi.Pages(opsapi.Operations())
	for _, p := range pages {
		fmt.Fprintf(&b, "| `%s %s` | %s | %s |\n", p.Method, p.Path, p.Scope, p.Summary)
	}
	fields := func(title string, rows []opsapi.FieldRow) {
		if len(rows) == 0 {
			return
		}
		fmt.Fprintf(&b, "\n%s\n\n| Field | Type | Meaning |\n| --- | --- | --- |\n", title)
		for _, r := range rows {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.Name, r.Type, r.Doc)
		}
	}
	for _, p := range pages {
		fmt.Fprintf(&b, "\n## %s\n\n`%s %s`: %s. Scope: %s.\n", p.ID, p.Method, p.Path, p.Summary, p.Scope)
		if len(p.Parameters) > 0 {
			b.WriteString("\n| Parameter | In | Meaning |\n| --- | --- | --- |\n")
		}
		for _, q := range p.Parameters {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", q.Name, q.In, q.Doc)
		}
		fields("Request:", p.Request)
		fields(fmt.Sprintf("Response %d:", p.Status), p.Response)
	}
	return b.String()
}
