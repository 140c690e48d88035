package static

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
)

// indexFile stands for its directory.
const indexFile = "index.html"

// Files serves the files below a directory. What lies outside, also behind a symbolic link, and what begins with a dot is not found.
type Files struct {
	Dir string
	// Listing says that a directory without index.html is listed.
	Listing bool
}

// ServeHTTP responds to GET and HEAD. It panics with http.ErrAbortHandler when a file ends before its length, so that nobody takes a part
// for the whole.
func (s Files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	name, slash, ok := local(r.URL.Path)
	if !ok {
		missing(w)
		return
	}
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		missing(w)
		return
	}
	defer func() { _ = root.Close() }() // only read
	info, err := root.Stat(name)
	switch {
	case err != nil:
		missing(w)
	case info.IsDir() && !slash:
		toDirectory(w, r)
	case info.IsDir():
		s.directory(w, r, root, name)
	case slash:
		missing(w) // a file has nothing below it
	default:
		send(w, r, root, name)
	}
}

// local makes of the decoded path of a request a name below the root. slash says that the path ends with one.
func local(requested string) (name string, slash, ok bool) {
	rest, rooted := strings.CutPrefix(requested, "/")
	if !rooted || strings.ContainsAny(rest, "\x00\\") {
		return "", false, false
	}
	if rest == "" {
		return ".", true, true
	}
	name, slash = strings.CutSuffix(rest, "/")
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' {
			return "", false, false
		}
	}
	return name, slash, fs.ValidPath(name)
}

// toDirectory leads to the path with a slash, below which the relative links of a page find their targets.
func toDirectory(w http.ResponseWriter, r *http.Request) {
	to := url.URL{Path: "./" + path.Base(r.URL.Path) + "/", RawQuery: r.URL.RawQuery}
	w.Header().Set("Location", to.String())
	w.WriteHeader(http.StatusMovedPermanently)
}

func (s Files) directory(w http.ResponseWriter, r *http.Request, root *os.Root, name string) {
	index := path.Join(name, indexFile)
	info, err := root.Stat(index)
	switch {
	case err == nil && info.Mode().IsRegular():
		send(w, r, root, index)
	case s.Listing:
		list(w, root, name)
	default:
		missing(w)
	}
}

// send sends a regular file, as far as the request asks for it.
func send(w http.ResponseWriter, r *http.Request, root *os.Root, name string) {
	f, info, err := openRegular(name, root.Stat, root.OpenFile)
	if err != nil {
		missing(w)
		return
	}
	defer func() { _ = f.Close() }() // only read
	serve(w, r, f, info)
}

// openRegular opens a file that is neither a directory, nor a device, nor a FIFO, on which it would wait.
func openRegular(
	name string, stat func(string) (fs.FileInfo, error), open func(string, int, fs.FileMode) (*os.File, error),
) (*os.File, fs.FileInfo, error) {
	info, err := stat(name) // before the open, which alone can have an effect on a device
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	f, err := open(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	if info, err = f.Stat(); err == nil && info.Mode().IsRegular() {
		return f, info, nil
	}
	_ = f.Close() // nothing was read
	return nil, nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
}

// serve sends an open file under its conditions and ranges (RFC 9110 13, 14).
func serve(w http.ResponseWriter, r *http.Request, f *os.File, info fs.FileInfo) {
	w.Header().Set("Etag", etag(info))
	content := &watched{f: f}
	http.ServeContent(w, r, info.Name(), info.ModTime(), content)
	content.settle()
}

// etag tells versions of a file apart by its time and its size.
func etag(info fs.FileInfo) string {
	return fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size())
}

func missing(w http.ResponseWriter) { http.Error(w, "not found", http.StatusNotFound) }

// watched notes when a file ends before the length that it had, or cannot be read. http.ServeContent sends several ranges from a goroutine
// that may read on for a moment after it has returned, when the visitor leaves: hence the atomic, and the file may be closed meanwhile.
type watched struct {
	f   *os.File
	cut atomic.Bool
}

// Read reads the file. Whoever reads no further than its length sees no end.
func (c *watched) Read(p []byte) (int, error) {
	n, err := c.f.Read(p)
	if err != nil {
		c.cut.Store(true)
	}
	return n, err
}

// Seek begins anew: an end that was met before, by a look at the content's beginning, does not count.
func (c *watched) Seek(offset int64, whence int) (int64, error) {
	c.cut.Store(false)
	return c.f.Seek(offset, whence)
}

// settle aborts the response if it is shorter than it says.
func (c *watched) settle() {
	if c.cut.Load() {
		panic(http.ErrAbortHandler)
	}
}

// Page is one file as a response.
type Page struct {
	File   string
	Type   string // of the content; if it is empty, the file's name says it
	Status int

	f    *os.File
	info fs.FileInfo
}

// Open opens the file. The caller closes the page.
func (p *Page) Open() (err error) {
	p.f, p.info, err = openRegular(p.File, os.Stat, os.OpenFile)
	return err
}

// Close closes the file.
func (p *Page) Close() { _ = p.f.Close() } // only read

// ServeHTTP sends the open file. Conditions and ranges count for status 200 alone. It panics like that of Files.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.Type != "" {
		w.Header().Set("Content-Type", p.Type)
	}
	if p.Status == http.StatusOK {
		serve(w, r, p.f, p.info)
		return
	}
	whole := &http.Request{Method: r.Method, Header: http.Header{}}
	serve(&withStatus{w, p.Status}, whole.WithContext(r.Context()), p.f, p.info)
}

// withStatus replaces the status.
type withStatus struct {
	http.ResponseWriter
	status int
}

// WriteHeader sends the head with the other status.
func (w *withStatus) WriteHeader(int) {
	w.Header().Del("Accept-Ranges")
	w.ResponseWriter.WriteHeader(w.status)
}

var _ io.ReadSeeker = (*watched)(nil)
