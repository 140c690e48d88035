package opsapi

import (
	"encoding"
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// object is a JSON object of the document.
type object = map[string]any

const componentPrefix = "#/components/schemas/"

// schemas collects the JSON schemas of types by name.
type schemas struct{ named object }

// of is the schema of a type: a reference for a struct.
func (s *schemas) of(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case reflect.TypeFor[json.RawMessage]():
		return object{"description": "any JSON"}
	case reflect.TypeFor[tunnel.ID](), reflect.TypeFor[tunnel.ConnectorID]():
		return object{"type": "string", "format": "uuid"}
	case reflect.TypeFor[netip.AddrPort]():
		return object{"type": "string", "examples": []string{"192.0.2.1:7844"}}
	}
	if t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return object{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Struct:
		return s.reference(t)
	case reflect.Slice, reflect.Array:
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Uint8:
		return object{"type": "integer", "minimum": 0, "maximum": 255}
	case reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return object{"type": "integer"}
	default: // JSON has no others
		return object{}
	}
}

// reference adds a struct to the named schemas, unless it is there, and refers to it.
func (s *schemas) reference(t reflect.Type) object {
	name := t.Name()
	if path := t.PkgPath(); !strings.HasSuffix(path, "/opsapi") {
		name = path[strings.LastIndexByte(path, '/')+1:] + "." + name
	}
	if _, known := s.named[name]; !known {
		made := object{"type": "object"}
		s.named[name] = made // before its fields, which may refer to it
		properties, required := object{}, []string{}
		s.fields(t, properties, &required)
		made["properties"] = properties
		if len(required) > 0 {
			made["required"] = required
		}
	}
	return object{"$ref": componentPrefix + name}
}

// fields adds the properties of a struct: those of embedded ones stand beside its own, as encoding/json has them.
func (s *schemas) fields(t reflect.Type, properties object, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, _ := f.Tag.Lookup("json")
		name, options, _ := strings.Cut(tag, ",")
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			s.fields(f.Type, properties, required)
			continue
		}
		if name == "-" || !f.IsExported() {
			continue
		}
		if name == "" {
			name = f.Name
		}
		schema := s.of(f.Type)
		if doc := f.Tag.Get("doc"); doc != "" {
			schema["description"] = doc
		}
		if _, shadowed := properties[name]; shadowed {
			continue
		}
		properties[name] = schema
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
			*required = append(*required, name)
		}
	}
}
