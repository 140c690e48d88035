package diag

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/cli/internal/diag/scrub"
)

const (
	bundleName = "cloudflared-diag"
	// bundleMode keeps a bundle from other users: names and addresses of a private network are in it.
	bundleMode = 0o600
	// maxNames is how many bundles may be written in one second.
	maxNames = 10
)

// entry is one file of a bundle.
type entry struct {
	name    string
	content []byte
}

// create makes the file of a bundle in dir; it replaces none.
func create(dir string, now time.Time) (*os.File, error) {
	base := bundleName + "-" + strings.ReplaceAll(now.Format(time.RFC3339), ":", "-")
	for i := 1; ; i++ {
		name := base + ".zip"
		if i > 1 {
			name = fmt.Sprintf("%s-%d.zip", base, i)
		}
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, bundleMode)
		if i < maxNames && errors.Is(err, fs.ErrExist) {
			continue
		}
		return f, err
	}
}

// write writes the entries into f and closes it. After an error the file is gone.
func write(f *os.File, now time.Time, entries []entry) (err error) {
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	z := zip.NewWriter(f)
	for _, e := range entries {
		w, err := z.CreateHeader(&zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: now})
		if err != nil {
			return err
		}
		if _, err := w.Write(e.content); err != nil {
			return err
		}
	}
	return z.Close()
}

// form says how secrets are removed from a file.
type form int

const (
	binary   form = iota // a profile: names of functions and addresses, no data of the process
	document             // JSON
	lines                // text
)

// clean is content without secrets.
func clean(f form, content []byte, secrets []string) ([]byte, error) {
	s := scrub.New(secrets...)
	switch f {
	case document:
		return s.JSON(content)
	case lines:
		var b bytes.Buffer
		for line := range strings.Lines(string(content)) {
			text := strings.TrimSuffix(line, "\n")
			if masked, ok := s.Line(text); ok {
				b.WriteString(masked)
				b.WriteString(line[len(text):])
			}
		}
		return b.Bytes(), nil
	case binary:
	}
	return content, nil
}

// buffer keeps up to limit bytes of what is written to it.
type buffer struct {
	bytes.Buffer
	limit int
	cut   bool
}

// Write never fails, so that the program that writes runs to its end.
func (b *buffer) Write(p []byte) (int, error) {
	if room := b.limit - b.Len(); len(p) > room {
		b.cut = true
		b.Buffer.Write(p[:max(room, 0)])
		return len(p), nil
	}
	return b.Buffer.Write(p)
}
