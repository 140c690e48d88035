package opsapi

import (
	"reflect"
	"slices"
	"strings"
)

// OperationPage is an operation as a page for people shows it.
type OperationPage struct {
	ID, Method, Path, Summary string
	Scope                     Scope
	Status                    int
	Parameters                []ParameterRow
	Request, Response         []FieldRow
}

// ParameterRow is a line of the table of parameters.
type ParameterRow struct{ Name, In, Doc string }

// FieldRow is a line of a table of fields. Fields of inner objects follow them, with the path as the name.
type FieldRow struct{ Name, Type, Doc string }

// maxDepth bounds how deep the fields of inner objects are shown.
const maxDepth = 4

// Pages shows the operations.
func Pages(operations []Operation) []OperationPage {
	out := make([]OperationPage, len(operations))
	for i := range operations {
		o := &operations[i]
		out[i] = OperationPage{
			ID: o.ID, Method: o.Method, Path: Base + o.Path, Summary: o.Summary, Scope: o.Scope, Status: o.Status,
			Request: rowsOf(o.Body), Response: rowsOf(o.Reply),
		}
		for _, p := range parametersOf(o) {
			name, _ := p["name"].(string)
			in, _ := p["in"].(string)
			doc, _ := p["description"].(string)
			out[i].Parameters = append(out[i].Parameters, ParameterRow{name, in, doc})
		}
	}
	return out
}

func rowsOf(v any) []FieldRow {
	if v == nil {
		return nil
	}
	s := &schemas{named: object{}}
	return s.rows(s.of(reflect.TypeOf(v)), "", 0)
}

// rows lists the fields of a schema.
func (s *schemas) rows(schema object, prefix string, depth int) (out []FieldRow) {
	ref, _ := schema["$ref"].(string)
	named, _ := s.named[strings.TrimPrefix(ref, componentPrefix)].(object)
	properties, _ := named["properties"].(object)
	names := make([]string, 0, len(properties))
	for name := range properties {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		p, _ := properties[name].(object)
		doc, _ := p["description"].(string)
		kind, inner, suffix := kindOf(p)
		out = append(out, FieldRow{prefix + name, kind, doc})
		if depth < maxDepth && inner != nil {
			out = append(out, s.rows(inner, prefix+name+suffix+".", depth+1)...)
		}
	}
	return out
}

// kindOf names the type of a property, with the object in it, and what its fields' names begin with beside the name.
func kindOf(p object) (kind string, inner object, suffix string) {
	if _, found := p["$ref"]; found {
		return "object", p, ""
	}
	kind, _ = p["type"].(string)
	if items, ok := p["items"].(object); ok {
		of, inner, _ := kindOf(items)
		return "array of " + of, inner, "[]"
	}
	if values, ok := p["additionalProperties"].(object); ok {
		of, inner, _ := kindOf(values)
		return "map of " + of, inner, "{}"
	}
	if format, ok := p["format"].(string); ok {
		kind += " (" + format + ")"
	}
	if kind == "" {
		kind = "any"
	}
	return kind, nil, ""
}
