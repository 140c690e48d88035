package filewatch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

var (
	// ErrNotRegular says that a path names a directory, a device, a FIFO or a socket.
	ErrNotRegular = errors.New("not a regular file")
	// ErrTooLarge says that a file has more bytes than its reader accepts.
	ErrTooLarge = errors.New("too large")
)

// ReadRegular reads the regular file path, or the one that it links to, of at most maxBytes bytes. It reads the file once, and
// does not block on a FIFO or read from a device: these are ErrNotRegular. A larger file is ErrTooLarge.
func ReadRegular(path string, maxBytes int64) ([]byte, error) {
	info, err := os.Stat(path) // before the open, which alone can have an effect on a device
	if err != nil {
		return nil, asOpen(err)
	}
	if err := check(info, path, maxBytes); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if err := check(info, path, maxBytes); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > maxBytes {
		return nil, tooLarge(path, maxBytes)
	}
	return b, nil
}

// asOpen gives an error of os.Stat the words of os.Open, so that callers report a missing file as cloudflared does.
func asOpen(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: "open", Path: p.Path, Err: p.Err}
	}
	return err
}

func check(info fs.FileInfo, path string, maxBytes int64) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w", path, ErrNotRegular)
	}
	if info.Size() > maxBytes {
		return tooLarge(path, maxBytes)
	}
	return nil
}

func tooLarge(path string, maxBytes int64) error {
	return fmt.Errorf("%s: %w: more than %d bytes", path, ErrTooLarge, maxBytes)
}
