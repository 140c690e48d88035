package cfdfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"go.yaml.in/yaml/v3"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

// MaxSize bounds a configuration file; the largest real ones hold some thousand rules in a few hundred KiB.
const MaxSize = 8 << 20

// File is a decoded configuration file.
type File struct {
	Path            string
	Tunnel          string
	CredentialsFile string
	Document        ingress.Document
	// Flags holds the other top-level keys: the name of a flag and its values in the order of the list (one for a scalar).
	// Keys without a value or with a mapping as value are left out.
	Flags map[string][]string
	// UnusedKeys names, with its place, each key inside ingress, originRequest and warp-routing that nothing reads.
	UnusedKeys []string
	// Empty says that the file holds no document.
	Empty bool
	// Others are the documents after the first one, which cloudflared ignores. OthersFault says why they cannot be decoded, if so.
	Others      []*File
	OthersFault error
}

// For gives the document of a tunnel, which is written as its UUID: of several, the one that names the tunnel, else the first.
func (f *File) For(tunnel string) *File {
	for _, other := range f.Others {
		if other.Tunnel == tunnel {
			return other
		}
	}
	return f
}

// Read reads and decodes the file at path.
func Read(path string) (*File, error) {
	b, err := ReadContent(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, b)
}

// ReadContent reads the file at path, of any kind. Of one that is larger than MaxSize it returns a byte more, which Parse refuses.
func ReadContent(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err // names the operation, the path and the cause
	}
	defer func() { _ = f.Close() }() // nothing was written
	b, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("config file at %s: %w", path, err)
	}
	return b, nil
}

// Parse decodes the content of a configuration file; path is for messages only. The first YAML document makes the file, and the
// others are in Others. A first document that cannot be decoded is an *Error with every place that is wrong.
func Parse(path string, b []byte) (*File, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("config file at %s is larger than %d MiB", path, MaxSize>>20)
	}
	file := &File{Path: path, Flags: map[string][]string{}}
	root, err := compose(b)
	if errors.Is(err, io.EOF) {
		file.Empty = true
		return file, nil
	}
	if err != nil {
		return nil, &Error{Path: path, Problems: []Problem{locate(b, err)}}
	}
	d := &decoder{budget: maxNodes}
	d.document(root, file)
	if len(d.problems) > 0 {
		return nil, &Error{Path: path, Problems: d.problems}
	}
	file.UnusedKeys = d.unused
	if bytes.Contains(b, []byte("\n---")) { // else there is no other document
		file.addOthers(b)
	}
	return file, nil
}

// addOthers adds the documents after the first one.
func (f *File) addOthers(b []byte) {
	all, err := ParseAll(f.Path, b)
	if err != nil {
		f.OthersFault = err
		return
	}
	f.Others = all[1:]
}

// compose parses the first document into a tree of nodes.
func compose(b []byte) (*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(b)).Decode(&doc); err != nil {
		return nil, err
	}
	if root := rootOf(&doc); root != nil {
		return root, nil
	}
	return nil, io.EOF
}
