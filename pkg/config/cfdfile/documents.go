package cfdfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxDocuments bounds the documents of one file.
const maxDocuments = 10_000

// ParseAll decodes every YAML document of a configuration file, in their order; empty ones are left out. Each is what Parse makes of a
// file with that document alone. cloudflared reads the first document and ignores all others, so a file for it may have anything there.
// The error is an *Error that names the place in the file.
func ParseAll(path string, b []byte) ([]*File, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("config file at %s is larger than %d MiB", path, MaxSize>>20)
	}
	var files []*File
	d := &decoder{budget: maxNodes}
	documents := yaml.NewDecoder(bytes.NewReader(b))
	for n := 1; ; n++ {
		var doc yaml.Node
		err := documents.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			if n == 1 {
				return nil, &Error{Path: path, Problems: []Problem{locate(b, err)}}
			}
			return nil, &Error{Path: path, Problems: []Problem{problemOf(n, err)}}
		}
		if n > maxDocuments {
			return nil, &Error{Path: path, Problems: []Problem{{Line: doc.Line, Column: 1, Text: fmt.Sprintf(
				"more than %d documents", maxDocuments)}}}
		}
		root := rootOf(&doc)
		if root == nil {
			continue
		}
		file := &File{Path: path, Flags: map[string][]string{}}
		d.unused = nil
		d.document(root, file)
		if len(d.problems) > 0 {
			return nil, &Error{Path: path, Problems: d.problems}
		}
		file.UnusedKeys = d.unused
		files = append(files, file)
	}
}

// problemOf is a syntax error of a document after the first one. The library says at most its line.
func problemOf(n int, err error) Problem {
	p := Problem{Line: 1, Column: 1, Text: strings.TrimPrefix(err.Error(), "yaml: ")}
	if m := linePrefix.FindStringSubmatch(p.Text); m != nil {
		p.Line, _ = strconv.Atoi(m[1]) // the expression matches digits only
		p.Text = strings.TrimPrefix(p.Text, m[0])
	}
	p.Text = fmt.Sprintf("document %d: %s", n, p.Text)
	return p
}

// rootOf gives the top of a document, or nil when it is empty.
func rootOf(doc *yaml.Node) *yaml.Node {
	if doc.Kind != yaml.DocumentNode || len(doc.Content) == 0 {
		return nil
	}
	if root := resolve(doc.Content[0]); !isNull(root) {
		return root
	}
	return nil
}
