package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"sort"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// decodeFile reads the YAML document at path into the struct v; every problem has the file's name, line and column.
func decodeFile(path string, v reflect.Value) []error {
	content, err := readLimited(path)
	if err != nil {
		return []error{fmt.Errorf("configuration file: %w", err)}
	}
	doc, err := parse(content)
	if errors.Is(err, io.EOF) { // an empty file changes nothing
		return nil
	}
	if err != nil {
		return []error{syntaxError(path, content, err)}
	}
	d := decoder{file: path}
	d.mapping("", doc.Content[0], v)
	return d.problems
}

// maxFileSize bounds a settings file, which people write by hand.
const maxFileSize = 4 << 20

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err == nil && len(b) > maxFileSize {
		err = fmt.Errorf("%s is larger than %d MiB", path, maxFileSize>>20)
	}
	return b, err
}

func parse(content []byte) (*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(content)).Decode(&doc); err != nil {
		return nil, err
	}
	return &doc, nil
}

// syntaxError adds the line and column to an error of the parser. The library reports a line at most, and often that of the
// start of the construct. The shortest beginning of the file that causes the same error ends at the fault.
func syntaxError(path string, content []byte, complaint error) error {
	size := sort.Search(len(content), func(n int) bool {
		_, err := parse(content[:n])
		return err != nil && err.Error() == complaint.Error()
	})
	before := content[:max(0, size-1)]
	line := bytes.Count(before, []byte{'\n'}) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	text := strings.TrimPrefix(complaint.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		_, text, _ = strings.Cut(rest, ": ")
	}
	return fmt.Errorf("%s:%d:%d: %s", path, line, column, text)
}

// decoder walks a YAML tree beside a struct and gathers what does not fit.
type decoder struct {
	file     string
	problems []error
}

func (d *decoder) problem(n *yaml.Node, path, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if path != "" {
		text = path + ": " + text
	}
	d.problems = append(d.problems, fmt.Errorf("%s:%d:%d: %s", d.file, n.Line, n.Column, text))
}

func (d *decoder) mapping(prefix string, n *yaml.Node, v reflect.Value) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.problem(n, prefix, "must be a mapping of keys to values")
		return
	}
	fields := fieldsOf(v)
	seen := make(map[string]bool, len(fields))
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		path := join(prefix, key.Value)
		field, ok := fields[key.Value]
		switch {
		case !ok:
			d.problem(key, path, "unknown key")
		case seen[key.Value]:
			d.problem(key, path, "given twice")
		default:
			seen[key.Value] = true
			d.value(path, val, field)
		}
	}
}

func (d *decoder) value(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case isSection(v.Type()):
		d.mapping(path, n, v)
	case n.Tag == "!!null":
		v.SetZero()
	case n.Kind == yaml.ScalarNode:
		if v.Kind() == reflect.Map || (v.Kind() == reflect.Slice && !isSecret(v.Type()) && !readsText(v.Type())) {
			d.problem(n, path, "must be a %s", v.Kind())
			return
		}
		if err := setText(v, n.Value); err != nil {
			d.problem(n, path, "%v", err)
		}
	case n.Kind == yaml.SequenceNode && v.Kind() == reflect.Slice:
		out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
		for i, item := range n.Content {
			d.value(fmt.Sprintf("%s[%d]", path, i), item, out.Index(i))
		}
		v.Set(out)
	case n.Kind == yaml.MappingNode && v.Kind() == reflect.Map:
		d.stringMap(path, n, v)
	default:
		d.problem(n, path, "does not fit a setting of type %s", v.Type())
	}
}

func (d *decoder) stringMap(path string, n *yaml.Node, v reflect.Value) {
	out := reflect.MakeMap(v.Type())
	for i := 0; i+1 < len(n.Content); i += 2 {
		e := reflect.New(v.Type().Elem()).Elem()
		d.value(join(path, n.Content[i].Value), n.Content[i+1], e)
		out.SetMapIndex(reflect.ValueOf(n.Content[i].Value).Convert(v.Type().Key()), e)
	}
	v.Set(out)
}

// fieldsOf maps the keys of the struct v, inlined ones included, to its fields.
func fieldsOf(v reflect.Value) map[string]reflect.Value {
	out := make(map[string]reflect.Value, v.NumField())
	for i := range v.NumField() {
		key, inline := keyOf(v.Type().Field(i))
		switch {
		case inline:
			for k, f := range fieldsOf(v.Field(i)) {
				out[k] = f
			}
		case key != "":
			out[key] = v.Field(i)
		}
	}
	return out
}
