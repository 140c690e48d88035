package static

import (
	_ "embed"
	"errors"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
)

//go:embed list.html
var listPage string

var page = template.Must(template.New("list").Parse(listPage)) //nolint:gochecknoglobals // a constant

// maxListed bounds how many names of a directory are read.
const maxListed = 10_000

// item is one line of a list.
type item struct{ Name, Link string }

// list sends the names in a directory: directories first, each kind in order. What is not served is not listed, but for links that lead
// outside.
func list(w http.ResponseWriter, root *os.Root, name string) {
	dir, err := root.Open(name)
	if err != nil {
		missing(w)
		return
	}
	defer func() { _ = dir.Close() }() // only read
	entries, err := dir.ReadDir(maxListed)
	if err != nil && !errors.Is(err, io.EOF) {
		missing(w)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	_ = page.Execute(w, struct { // the visitor left; the flow ends on its own
		Items []item
		Above bool
	}{items(entries), name != "."})
}

func items(entries []fs.DirEntry) []item {
	slices.SortFunc(entries, func(a, b fs.DirEntry) int {
		if a.IsDir() != b.IsDir() {
			if a.IsDir() {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name(), b.Name())
	})
	out := make([]item, 0, len(entries))
	for _, e := range entries {
		name := e.Name()
		if name[0] == '.' || !e.IsDir() && e.Type()&(fs.ModeDevice|fs.ModeNamedPipe|fs.ModeSocket) != 0 {
			continue
		}
		if e.IsDir() {
			name += "/"
		}
		out = append(out, item{Name: name, Link: (&url.URL{Path: "./" + name}).String()})
	}
	return out
}
