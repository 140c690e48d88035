package ingress

import (
	"reflect"
	"strings"
)

// Schema describes the keys of a configuration file that make its rules, as the properties of a JSON schema (draft 2020-12): names to
// schemas. It is made from the types that decode them, so no key can be missing.
func Schema() map[string]any {
	s := object(reflect.TypeFor[jsonDocument]())
	return s["properties"].(map[string]any) //nolint:forcetypeassert // object makes it
}

// schemaOf describes one type.
func schemaOf(t reflect.Type) map[string]any {
	switch t {
	case reflect.TypeFor[seconds](), reflect.TypeFor[Duration]():
		return map[string]any{"type": []string{"string", "integer"}}
	case reflect.TypeFor[IPRuleSpec]():
		return object(reflect.TypeFor[jsonIPRule]())
	case reflect.TypeFor[ServiceSpec]():
		return map[string]any{"anyOf": []any{map[string]any{"type": "string"}, object(t)}}
	case reflect.TypeFor[jsonRule]():
		s := object(t)
		s["anyOf"] = []any{map[string]any{"required": []string{"service"}}, map[string]any{"required": []string{"services"}}}
		return s
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem())
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case reflect.Struct:
		return object(t)
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.String:
		return map[string]any{"type": "string"}
	default: // integers; the types hold nothing else
		return map[string]any{"type": "integer"}
	}
}

// object describes a struct by the tags of its fields: json names a key, doc says what it is, and enum what its values may be. A key with a
// doc that is never left out when it is written must be there.
func object(t reflect.Type) map[string]any {
	properties := map[string]any{}
	var required []string
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		s := schemaOf(f.Type)
		doc := f.Tag.Get("doc")
		if doc != "" {
			s["description"] = doc
			if options != "omitempty" {
				required = append(required, name)
			}
		}
		if values := f.Tag.Get("enum"); values != "" {
			at := s
			if items, is := s["items"].(map[string]any); is {
				at = items
			}
			at["enum"] = strings.Split(values, ",")
		}
		properties[name] = s
	}
	s := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if required != nil {
		s["required"] = required
	}
	return s
}
