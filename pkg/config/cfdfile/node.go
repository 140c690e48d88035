package cfdfile

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// maxNodes bounds the nodes that are visited when aliases are followed: a small file can expand to any number.
	maxNodes = 1 << 20
	// maxMergeDepth bounds merge keys inside merged mappings; an anchor may contain itself.
	maxMergeDepth = 64

	tagNull  = "!!null"
	tagMerge = "!!merge"
)

// decoder walks the tree of nodes, which know their line and column, and collects all that is wrong.
type decoder struct {
	problems []Problem
	unused   []string
	budget   int
}

// field reads the value of a key.
type field func(*yaml.Node)

// pair is a key of a mapping with its value.
type pair struct{ key, value *yaml.Node }

func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == tagNull }

func (d *decoder) fail(n *yaml.Node, format string, args ...any) {
	d.problems = append(d.problems, Problem{Line: n.Line, Column: n.Column, Text: fmt.Sprintf(format, args...)})
}

// spend counts visited nodes. When the limit is exceeded it records one problem; every later call fails without another one.
func (d *decoder) spend(n *yaml.Node, nodes int) bool {
	if d.budget < 0 {
		return false
	}
	d.budget -= nodes
	if d.budget < 0 {
		d.fail(n, "document is too large once its aliases are followed")
		return false
	}
	return true
}

// object reads the fields of a mapping; what is the object's name in messages. A null is an object without keys.
func (d *decoder) object(n *yaml.Node, what string, fields map[string]field) {
	for _, p := range d.pairs(n, what) {
		read, ok := fields[p.key.Value]
		if !ok || p.key.Kind != yaml.ScalarNode {
			d.unused = append(d.unused, unusedKey(p.key, what, fields))
			continue
		}
		read(p.value)
	}
}

// extension reads a key that the reference does not know. The reference ignores the key whatever its value, so problems are only
// warnings.
func (d *decoder) extension(read field) field {
	return func(n *yaml.Node) { d.tolerate(n, read) }
}

// tolerate turns the problems of a value into warnings. It reports whether there were none.
func (d *decoder) tolerate(n *yaml.Node, read field) bool {
	before := len(d.problems)
	read(n)
	if d.budget < 0 {
		return false // the document is too large; this is not a problem of the key
	}
	found := d.problems[before:]
	for _, p := range found {
		d.unused = append(d.unused, p.String()+"; the setting is ignored")
	}
	d.problems = d.problems[:before]
	return len(found) == 0
}

func unusedKey(key *yaml.Node, what string, fields map[string]field) string {
	text := fmt.Sprintf("line %d, column %d: field %s not found in %s", key.Line, key.Column, key.Value, what)
	for name := range fields {
		if strings.EqualFold(name, key.Value) {
			return text + " (did you mean " + name + "?)"
		}
	}
	return text
}

// pairs gives the keys of a mapping and those of the mappings merged into it, which never override.
func (d *decoder) pairs(n *yaml.Node, what string) []pair {
	n = resolve(n)
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n, "cannot unmarshal %s into %s", describe(n), what)
		return nil
	}
	return d.collect(nil, map[string]bool{}, n, 0)
}

func (d *decoder) collect(out []pair, have map[string]bool, n *yaml.Node, depth int) []pair {
	if depth > maxMergeDepth {
		d.fail(n, "merged mappings are nested too deep, or contain themselves")
		return out
	}
	if !d.spend(n, 1+len(n.Content)/2) {
		return out
	}
	lines := make(map[string]int, len(n.Content)/2)
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := resolve(n.Content[i]), n.Content[i+1]
		if key.ShortTag() == tagMerge {
			merged = append(merged, value)
			continue
		}
		if line, ok := lines[key.Value]; ok && key.Kind == yaml.ScalarNode {
			d.fail(n.Content[i], "mapping key %q already defined at line %d", key.Value, line)
			continue
		}
		lines[key.Value] = key.Line
		if !have[key.Value] {
			have[key.Value] = true
			out = append(out, pair{key, value})
		}
	}
	for _, value := range merged {
		out = d.merge(out, have, resolve(value), depth+1)
	}
	return out
}

func (d *decoder) merge(out []pair, have map[string]bool, value *yaml.Node, depth int) []pair {
	sources := []*yaml.Node{value}
	if value.Kind == yaml.SequenceNode {
		sources = value.Content
	}
	for _, source := range sources {
		source = resolve(source)
		if source.Kind != yaml.MappingNode {
			d.fail(source, "map merge requires map or sequence of maps as the value")
			return out
		}
		out = d.collect(out, have, source, depth)
	}
	return out
}

// items gives the entries of a list; null is an empty one.
func (d *decoder) items(n *yaml.Node, what string) []*yaml.Node {
	n = resolve(n)
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		d.fail(n, "cannot unmarshal %s into a list of %s", describe(n), what)
		return nil
	}
	if !d.spend(n, 1+len(n.Content)) {
		return nil
	}
	return n.Content
}

// describe is the tag and, for a scalar, the beginning of its text.
func describe(n *yaml.Node) string {
	const shown = 10
	if n.Kind != yaml.ScalarNode {
		return n.ShortTag()
	}
	value := n.Value
	if r := []rune(value); len(r) > shown {
		value = string(r[:shown]) + "..."
	}
	return n.ShortTag() + " `" + value + "`"
}

// optional reads a scalar into a pointer that stays nil for null.
func optional[T any](d *decoder, dst **T) field {
	return func(n *yaml.Node) {
		if v, ok := scalar[T](d, n); ok {
			*dst = &v
		}
	}
}

// value reads a scalar; null leaves dst as it is.
func value[T any](d *decoder, dst *T) field {
	return func(n *yaml.Node) {
		if v, ok := scalar[T](d, n); ok {
			*dst = v
		}
	}
}

// list reads a list of scalars. An empty list is not nil.
func list[T any](d *decoder, dst *[]T, what string) field {
	return func(n *yaml.Node) {
		if isNull(resolve(n)) {
			return
		}
		*dst = []T{}
		for _, item := range d.items(n, what) {
			v, _ := scalar[T](d, item)
			*dst = append(*dst, v)
		}
	}
}

// scalar leaves the rules of conversion to the library: which words are booleans, that a duration needs a unit.
func scalar[T any](d *decoder, n *yaml.Node) (v T, ok bool) {
	target := resolve(n)
	if isNull(target) || !d.spend(n, 1) {
		return v, false
	}
	if target.Kind != yaml.ScalarNode {
		d.fail(n, "cannot unmarshal %s into %T", describe(target), v)
		return v, false
	}
	err := target.Decode(&v)
	if err == nil {
		return v, true
	}
	var typeErr *yaml.TypeError
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if errors.As(err, &typeErr) && len(typeErr.Errors) > 0 {
		text = linePrefix.ReplaceAllString(typeErr.Errors[0], "")
	}
	d.fail(n, "%s", text)
	return v, false
}
