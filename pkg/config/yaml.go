package config

import (
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// YAML writes v in YAML with the keys, the order and the omissions of its JSON form. It fails when v has no JSON form.
func YAML(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("YAML: %w", err)
	}
	plain(&doc)
	return yaml.Marshal(&doc)
}

// plain removes the braces and quotes of JSON where YAML needs none.
func plain(n *yaml.Node) {
	if len(n.Content) > 0 || n.Kind == yaml.ScalarNode {
		n.Style = 0
	}
	for _, child := range n.Content {
		plain(child)
	}
}
