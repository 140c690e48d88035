package cfdfile

import (
	"encoding/json"
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// own reads the value of a key of our own into a type that is decoded from JSON: such keys have the same form in both.
func own[T any](d *decoder, dst *T) field {
	return func(n *yaml.Node) {
		tree, err := d.tree(resolve(n), 0)
		if err != nil {
			d.fail(n, "%v", err)
			return
		}
		b, err := json.Marshal(tree)
		if err != nil {
			d.fail(n, "%v", err)
			return
		}
		var v T
		if err := json.Unmarshal(b, &v); err != nil {
			d.fail(n, "%v", err)
			return
		}
		*dst = v
	}
}

// tree gives a value as maps, lists and scalars.
func (d *decoder) tree(n *yaml.Node, depth int) (any, error) {
	const maxDepth = 16
	if depth > maxDepth {
		return nil, errors.New("nested too deep")
	}
	if !d.spend(n, 1) {
		return nil, errors.New("document is too large once its aliases are followed")
	}
	switch n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		for _, p := range d.pairs(n, "an object") {
			if p.key.Kind != yaml.ScalarNode {
				return nil, errors.New("a key is not a text")
			}
			v, err := d.tree(resolve(p.value), depth+1)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.key.Value, err)
			}
			out[p.key.Value] = v
		}
		return out, nil
	case yaml.SequenceNode:
		out := make([]any, 0, len(n.Content))
		for _, item := range n.Content {
			v, err := d.tree(resolve(item), depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case yaml.ScalarNode:
		if isNull(n) {
			return nil, nil //nolint:nilnil // null
		}
		var v any
		if n.ShortTag() == "!!timestamp" || n.ShortTag() == "!!binary" {
			return n.Value, nil
		}
		if err := n.Decode(&v); err != nil {
			return nil, err
		}
		return v, nil
	default:
		return nil, errors.New("not a value")
	}
}
