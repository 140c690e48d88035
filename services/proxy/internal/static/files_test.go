package static_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/static"
)

// site makes a directory with files, and a secret beside it.
func site(t testing.TB) string {
	t.Helper()
	top := t.TempDir()
	dir := filepath.Join(top, "www")
	for name, text := range map[string]string{
		"www/index.html": "<p>home", "www/a.txt": "0123456789", "www/.env": "SECRET", "www/.git/config": "SECRET",
		"www/sub/b c.txt": "b", "www/sub/<i>.txt": "i", "www/sub/.hidden": "SECRET", "www/site/index.html": "<p>site", "secret.txt": "SECRET",
	} {
		file := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		"outside": "../secret.txt", "absolute": filepath.Join(top, "secret.txt"), "up": "..", "inside": "a.txt", "sub/inside": "../a.txt",
	} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// ask sends a request whose decoded path is path. headers are names and values.
func ask(h http.Handler, method, path string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, "/", nil)
	r.URL.Path = path
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t testing.TB, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFiles(t *testing.T) {
	h := static.Files{Dir: site(t)}
	for _, tc := range []struct {
		path   string
		status int
		body   string
		header string // "Name: value" that the response has
	}{
		{"/", 200, "<p>home", "Content-Type: text/html; charset=utf-8"},
		{"/index.html", 200, "<p>home", ""},
		{"/a.txt", 200, "0123456789", "Content-Type: text/plain; charset=utf-8"},
		{"/inside", 200, "0123456789", "Content-Length: 10"},
		{"/sub/inside", 200, "0123456789", ""},
		{"/sub/b c.txt", 200, "b", ""},
		{"/site/", 200, "<p>site", ""},
		{"/site", 301, "", "Location: ./site/"},
		{"/sub", 301, "", "Location: ./sub/"},
		{"/sub/", 404, "not found\n", ""},
		{"/a.txt/", 404, "not found\n", ""},
		{"/missing", 404, "not found\n", ""},
		{"/fifo", 404, "not found\n", ""},
		{"/.env", 404, "not found\n", ""},
		{"/.git/config", 404, "not found\n", ""},
		{"/sub/.hidden", 404, "not found\n", ""},
		{"/outside", 404, "not found\n", ""},
		{"/absolute", 404, "not found\n", ""},
		{"/up/secret.txt", 404, "not found\n", ""},
		{"/../secret.txt", 404, "not found\n", ""},
		{"/sub/../../secret.txt", 404, "not found\n", ""},
		{"/sub/..", 404, "not found\n", ""},
		{"/sub//b c.txt", 404, "not found\n", ""},
		{"//a.txt", 404, "not found\n", ""},
		{`/..\secret.txt`, 404, "not found\n", ""},
		{"/a.txt\x00", 404, "not found\n", ""},
		{"*", 404, "not found\n", ""},
		{"", 404, "not found\n", ""},
	} {
		res := ask(h, http.MethodGet, tc.path)
		name, value, _ := strings.Cut(tc.header, ": ")
		if got := body(t, res); res.StatusCode != tc.status || got != tc.body || tc.header != "" && res.Header.Get(name) != value {
			t.Errorf("%q: status %d, %q, %v, want %d, %q, %q", tc.path, res.StatusCode, got, res.Header, tc.status, tc.body, tc.header)
		}
		head := ask(h, http.MethodHead, tc.path)
		if head.StatusCode != tc.status || head.Header.Get("Content-Length") != res.Header.Get("Content-Length") {
			t.Errorf("HEAD %q: status %d, %v", tc.path, head.StatusCode, head.Header)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"} {
		if res := ask(h, method, "/a.txt"); res.StatusCode != 405 || res.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: status %d, %v", method, res.StatusCode, res.Header)
		}
	}
	if res := ask(static.Files{Dir: "/nonexistent/dir"}, http.MethodGet, "/"); res.StatusCode != 404 {
		t.Errorf("no directory: status %d", res.StatusCode)
	}
}

func TestRangesAndConditions(t *testing.T) {
	h := static.Files{Dir: site(t)}
	whole := ask(h, http.MethodGet, "/a.txt")
	tag, modified := whole.Header.Get("Etag"), whole.Header.Get("Last-Modified")
	if tag == "" || modified == "" {
		t.Fatalf("header %v", whole.Header)
	}
	for _, tc := range []struct {
		headers []string
		status  int
		body    string
	}{
		{[]string{"Range", "bytes=2-4"}, 206, "234"},
		{[]string{"Range", "bytes=-3"}, 206, "789"},
		{[]string{"Range", "bytes=20-"}, 416, "invalid range: failed to overlap\n"},
		{[]string{"Range", "bytes=2-4", "If-Range", tag}, 206, "234"},
		{[]string{"Range", "bytes=2-4", "If-Range", `"other"`}, 200, "0123456789"},
		{[]string{"If-None-Match", tag}, 304, ""},
		{[]string{"If-None-Match", `"other"`}, 200, "0123456789"},
		{[]string{"If-Match", `"other"`}, 412, ""},
		{[]string{"If-Modified-Since", modified}, 304, ""},
		{[]string{"If-Modified-Since", time.Unix(0, 0).UTC().Format(http.TimeFormat)}, 200, "0123456789"},
	} {
		if res := ask(h, http.MethodGet, "/a.txt", tc.headers...); res.StatusCode != tc.status || body(t, res) != tc.body {
			t.Errorf("%q: status %d, want %d, %q", tc.headers, res.StatusCode, tc.status, tc.body)
		}
	}
	// Another content of the same size has another tag.
	file := filepath.Join(h.Dir, "a.txt")
	if err := os.WriteFile(file, []byte("9876543210"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, time.Time{}, time.Unix(1_700_000_000, 1)); err != nil {
		t.Fatal(err)
	}
	if res := ask(h, http.MethodGet, "/a.txt", "If-None-Match", tag); res.StatusCode != 200 || res.Header.Get("Etag") == tag {
		t.Errorf("changed file: status %d, tag %s", res.StatusCode, res.Header.Get("Etag"))
	}
}

func TestListing(t *testing.T) {
	h := static.Files{Dir: site(t), Listing: true}
	text := body(t, ask(h, http.MethodGet, "/sub/"))
	for _, want := range []string{`<a href="../">`, `<a href="./b%20c.txt">b c.txt</a>`, `<a href="./%3Ci%3E.txt">&lt;i&gt;.txt</a>`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Contains(text, "hidden") {
		t.Errorf("a hidden file is listed: %s", text)
	}
	if res := ask(h, http.MethodGet, "/empty/"); res.StatusCode != 200 || strings.Count(body(t, res), "<li>") != 1 {
		t.Errorf("empty directory: status %d", res.StatusCode)
	}
	if got := body(t, ask(h, http.MethodGet, "/")); got != "<p>home" {
		t.Errorf("directory with index.html: %q", got)
	}
}

// discard counts what is written, and keeps nothing.
type discard struct {
	header http.Header
	n      int64
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(p []byte) (int, error) { d.n += int64(len(p)); return len(p), nil }

// TestLargeFilesAreNotHeldInMemory sends a file of 1 GiB.
func TestLargeFilesAreNotHeldInMemory(t *testing.T) {
	dir := t.TempDir()
	const size = 1 << 30
	f, err := os.Create(filepath.Join(dir, "large"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil { // no disk is used for what was never written
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d := &discard{header: http.Header{}}
	static.Files{Dir: dir}.ServeHTTP(d, httptest.NewRequest(http.MethodGet, "/large", nil))
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; d.n != size || used > 1<<20 {
		t.Errorf("%d bytes sent, %d allocated", d.n, used)
	}
}

// shrinking cuts the file short once the head is out.
type shrinking struct {
	discard
	file string
}

func (s *shrinking) WriteHeader(int) {
	if err := os.Truncate(s.file, 100); err != nil {
		panic(err)
	}
}

func TestFileThatShrinksAbortsTheResponse(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // the panic's value itself
			t.Errorf("panic %v, want an abort", p)
		}
	}()
	static.Files{Dir: dir}.ServeHTTP(&shrinking{discard{header: http.Header{}}, file}, httptest.NewRequest(http.MethodGet, "/a", nil))
	t.Error("the response ended as if it were whole")
}

func TestPage(t *testing.T) {
	file := filepath.Join(site(t), "a.txt")
	for _, tc := range []struct {
		page    static.Page
		headers []string
		status  int
		body    string
	}{
		{static.Page{File: file, Status: 200}, nil, 200, "0123456789"},
		{static.Page{File: file, Status: 200}, []string{"Range", "bytes=1-2"}, 206, "12"},
		{static.Page{File: file, Status: 503, Type: "text/x"}, []string{"Range", "bytes=1-2"}, 503, "0123456789"},
	} {
		if err := tc.page.Open(); err != nil {
			t.Fatal(err)
		}
		res := ask(&tc.page, http.MethodGet, "/any", tc.headers...)
		tc.page.Close()
		if res.StatusCode != tc.status || body(t, res) != tc.body || tc.page.Type != "" && res.Header.Get("Content-Type") != tc.page.Type {
			t.Errorf("%+v: status %d, %v", tc.page, res.StatusCode, res.Header)
		}
	}
	for _, name := range []string{filepath.Dir(file), filepath.Join(filepath.Dir(file), "fifo"), "/nonexistent"} {
		if p := (&static.Page{File: name}); p.Open() == nil {
			p.Close()
			t.Errorf("%s was opened", name)
		}
	}
}

// FuzzFiles asks for arbitrary paths and ranges: nothing hidden or outside ever comes.
func FuzzFiles(f *testing.F) {
	f.Add("/sub/../../secret.txt", "bytes=0-3")
	f.Add("/up/secret.txt", "")
	f.Add("/./.env", "bytes=1-2,3-4,-1")
	f.Add("/sub/b c.txt", "bytes=")
	h := static.Files{Dir: site(f), Listing: true}
	f.Fuzz(func(t *testing.T, path, ranges string) {
		res := ask(h, http.MethodGet, path, "Range", ranges)
		if text := body(t, res); strings.Contains(text, "SECRET") || strings.Contains(text, "hidden") {
			t.Fatalf("%q: %s", path, text)
		}
	})
}

// random is content that no compression or repetition can hide a fault in.
func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b) // never fails
	return b
}

func TestBytesAreEqual(t *testing.T) {
	dir, want := t.TempDir(), random(5<<20+17)
	if err := os.WriteFile(filepath.Join(dir, "x.bin"), want, 0o644); err != nil {
		t.Fatal(err)
	}
	h := static.Files{Dir: dir}
	if got := body(t, ask(h, http.MethodGet, "/x.bin")); !bytes.Equal([]byte(got), want) {
		t.Errorf("%d bytes that differ from the file", len(got))
	}
	from, to := 1<<20+1, 3<<20
	if got := body(t, ask(h, http.MethodGet, "/x.bin", "Range", fmt.Sprintf("bytes=%d-%d", from, to))); got != string(want[from:to+1]) {
		t.Errorf("range: %d bytes that differ from the file", len(got))
	}
}

// leaving is a visitor who leaves while the response is sent.
type leaving struct {
	*httptest.ResponseRecorder
	room int
}

func (l *leaving) Write(p []byte) (int, error) {
	if l.room -= len(p); l.room < 0 {
		return 0, io.ErrClosedPipe
	}
	return l.ResponseRecorder.Write(p)
}

// TestLeavingDuringSeveralRanges is for the race detector: the ranges are read by a goroutine that may outlive the response.
func TestLeavingDuringSeveralRanges(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.bin"), random(1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	for room := range 20 {
		r := httptest.NewRequest(http.MethodGet, "/x.bin", nil)
		r.Header.Set("Range", "bytes=0-400000,500000-900000")
		w := &leaving{httptest.NewRecorder(), room << 15}
		func() {
			defer func() {
				if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // the panic's value itself
					t.Errorf("panic %v", p)
				}
			}()
			static.Files{Dir: dir}.ServeHTTP(w, r)
		}()
		if w.Code != http.StatusPartialContent || w.Body.Len() > room<<15 {
			t.Fatalf("status %d, %d bytes", w.Code, w.Body.Len())
		}
	}
}
