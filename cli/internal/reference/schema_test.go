package reference_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

var (
	flagLine  = regexp.MustCompile(`(?m)^   --([a-z][a-z0-9-]+)(?:[ ,].*?)? {2,}(.+)$`)
	yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")
	hasRules  = regexp.MustCompile(`(?m)^ingress:`)
)

// schema is the JSON schema of a connector's configuration file: the keys that make rules, and the flags of `tunnel run`.
func schema(t *testing.T) string {
	t.Helper()
	properties := map[string]any{
		"tunnel":           map[string]any{"type": "string", "description": "id or name of the tunnel"},
		"credentials-file": map[string]any{"type": "string", "description": "file with the credentials of the tunnel"},
		"cred-file":        map[string]any{"type": "string", "description": "the same as credentials-file"},
	}
	scalar := []any{"string", "number", "boolean"}
	flags := flagLine.FindAllStringSubmatch(help(t, "tunnel")+"\n"+help(t, "tunnel", "run"), -1)
	if len(flags) < 30 {
		t.Fatalf("%d flags: the help has another form than this test reads", len(flags))
	}
	for _, m := range flags {
		if _, known := properties[m[1]]; known || m[1] == "help" || m[1] == "version" {
			continue
		}
		properties[m[1]] = map[string]any{
			"description": strings.TrimSpace(m[2]),
			"anyOf": []any{
				map[string]any{"type": scalar}, map[string]any{"type": "array", "items": map[string]any{"type": scalar}},
			},
		}
	}
	maps.Copy(properties, ingress.Schema())
	b, err := json.MarshalIndent(map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Configuration file of a Culvert connector (config.yml)",
		"type": "object", "properties": properties, "additionalProperties": false,
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}

// compiled is the schema, ready to validate.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema(t)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("config.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("config.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance reads YAML as the validator wants it.
func instance(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestShippedFilesFitTheSchema validates the configuration files of the pages, and the one of the compose project.
func TestShippedFilesFitTheSchema(t *testing.T) {
	s := compiled(t)
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	check := func(name, text string) {
		tried++
		if err := s.Validate(instance(t, text)); err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
			if hasRules.MatchString(block[1]) {
				for part := range strings.SplitSeq(block[1], "\n---\n") {
					check(filepath.Base(page), part)
				}
			}
		}
	}
	compose := filepath.Join(root, "deploy", "compose", "config.yml")
	text, err := os.ReadFile(compose)
	if err != nil {
		t.Fatal(err)
	}
	check(compose, string(text))
	if tried < 5 {
		t.Errorf("%d files were tried: the pages have another form than this test reads", tried)
	}
}

// TestSchemaRefusesMistakes: what an editor must underline.
func TestSchemaRefusesMistakes(t *testing.T) {
	s := compiled(t)
	const good = "ingress: [{hostname: a, service: 'http://b', " +
		"originRequest: {connectTimeout: 5s}, actions: {timeout: 30, ipRules: [{prefix: 10.0.0.0/8}]}}]"
	if err := s.Validate(instance(t, good)); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"ingres: []", "ingress: {}", "ingress: [{}]", "ingress: [{service: 80}]", "ingress: [{service: a, hostnam: b}]",
		"originRequest: {noTLSVerify: maybe}", "originRequest: {connectTimeout: [1]}", "ingress: [{service: a, balance: {policy: fastest}}]",
		"ingress: [{service: a, actions: {basicAut: {}}}]", "ingress: [{service: a, actions: {redirect: {status: 301}}}]",
		"ingress: [{service: a, match: {protocols: [tcp]}}]", "ingress: [{services: [{weight: 1}]}]", "warp-routing: {enabled: 1, x: 2}",
	} {
		if s.Validate(instance(t, text)) == nil {
			t.Errorf("%s was accepted", text)
		}
	}
}

// TestSchemaDescribesEveryKeyOfOurs: an editor shows what a key is for.
func TestSchemaDescribesEveryKeyOfOurs(t *testing.T) {
	var walk func(path string, node any) int
	walk = func(path string, node any) (keys int) {
		switch n := node.(type) {
		case map[string]any:
			if properties, is := n["properties"].(map[string]any); is {
				for _, name := range slices.Sorted(maps.Keys(properties)) {
					p := properties[name].(map[string]any)
					if p["description"] == nil && !strings.HasPrefix(path, "$.originRequest") {
						switch name {
						case "ingress", "originRequest", "warp-routing", "ports", "allow", "teamName", "audTag", "prefix":
						default:
							t.Errorf("%s.%s has no description", path, name)
						}
					}
					keys += 1 + walk(path+"."+name, p)
				}
			}
			for _, key := range []string{"items", "anyOf"} {
				keys += walk(path, n[key])
			}
		case []any:
			for _, item := range n {
				keys += walk(path, item)
			}
		}
		return keys
	}
	var doc any
	if err := json.Unmarshal([]byte(schema(t)), &doc); err != nil {
		t.Fatal(err)
	}
	if n := walk("$", doc); n < 150 {
		t.Errorf("%d keys are in the schema", n)
	}
}
