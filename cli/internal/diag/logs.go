package diag

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

const (
	// logWindow and logLines say how far back logs of others are read.
	logWindow = 14 * 24 * time.Hour
	logLines  = "10000"
	// killDelay is how long a program that was stopped may keep its output open.
	killDelay = time.Second

	unitDirectory   = "/etc/systemd/system"
	linuxServiceLog = "/var/log/cloudflared.err"
	macServiceLog   = "/Library/Logs/com.cloudflare.cloudflared.err.log"
)

// ErrNoLogs says that nothing tells where the logs of the connector are.
var ErrNoLogs = errors.New("the connector has no log file, and no service of this host writes one")

// source is where logs come from: a file, the files of a directory, or what a program prints.
type source struct {
	file, directory string
	program         []string
}

// wanted are the containers that a user named.
type wanted struct{ container, pod string }

// host is what the choice of a source depends on.
type host struct {
	goos   string
	exists func(path string) bool
	home   string
	now    time.Time
}

func thisHost() host {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/"
	}
	return host{goos: runtime.GOOS, home: home, now: time.Now(), exists: func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	}}
}

// choose says where the logs of a connector with the flags of /diag/configuration are. A log file that it was started with comes
// first; the reference asks the service manager first, and so misses the file of each connector that root started.
func (h host) choose(w wanted, flags map[string]string) (source, error) {
	since := h.now.Add(-logWindow).UTC().Format(time.RFC3339)
	for _, name := range []string{w.container, w.pod} {
		if strings.HasPrefix(name, "-") {
			return source{}, fmt.Errorf("%q is not the name of a container or pod", name)
		}
	}
	switch {
	case w.pod != "":
		program := []string{"kubectl", "logs", w.pod, "--since-time", since, "--tail", logLines}
		if w.container != "" {
			program = append(program, "-c", w.container)
		}
		return source{program: program}, nil
	case w.container != "":
		return source{program: []string{"docker", "logs", "--tail", logLines, "--since", since, w.container}}, nil
	case flags["logfile"] != "":
		return source{file: flags["logfile"]}, nil
	case flags["log-directory"] != "":
		return source{directory: flags["log-directory"]}, nil
	}
	return h.service(flags["uid"])
}

// service is where the service manager of the host keeps the logs.
func (h host) service(uid string) (source, error) {
	switch h.goos {
	case "linux":
		program := []string{"journalctl", "--no-pager", "--since", "2 weeks ago"}
		units := 0
		for _, unit := range []string{"cloudflared.service", "culvert.service"} {
			if h.exists(filepath.Join(unitDirectory, unit)) {
				program = append(program, "-u", unit)
				units++
			}
		}
		switch {
		case units > 0:
			return source{program: program}, nil
		case uid == "0" && h.exists(linuxServiceLog):
			return source{file: linuxServiceLog}, nil
		}
	case "darwin":
		for _, path := range []string{macServiceLog, filepath.Join(h.home, macServiceLog)} {
			if h.exists(path) {
				return source{file: path}, nil
			}
		}
	}
	return source{}, ErrNoLogs
}

// read writes the logs to w.
func (s source) read(ctx context.Context, w io.Writer) error {
	switch {
	case s.file != "":
		return copyTail(w, s.file, maxBody)
	case s.directory != "":
		return copyDirectory(w, s.directory)
	default:
		return runProgram(ctx, w, s.program...)
	}
}

// copyTail copies the last limit bytes of a regular file, from the begin of a line.
func copyTail(w io.Writer, path string, limit int64) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() { // a pipe would never end
		return fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	from := bufio.NewReader(io.LimitReader(f, limit))
	if skip := info.Size() - limit; skip > 0 {
		if _, err := f.Seek(skip, io.SeekStart); err != nil {
			return err
		}
		part, err := from.ReadBytes('\n') // of a line whose begin, with the name of a secret, may be missing
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if _, err := fmt.Fprintf(w, "(%d bytes before this are not included)\n", skip+int64(len(part))); err != nil {
			return err
		}
	}
	_, err = io.Copy(w, from)
	return err
}

// copyDirectory copies the log files of a directory, the oldest first: rotated files have the time in their names, and the one in use
// has none (docs/spec/lifecycle.md 10.5).
func copyDirectory(w io.Writer, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasPrefix(e.Name(), "cloudflared") && strings.HasSuffix(e.Name(), ".log") {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("%s has no log file", dir)
	}
	slices.SortFunc(names, func(a, b string) int {
		const current = "cloudflared.log"
		switch {
		case a == current:
			return 1
		case b == current:
			return -1
		default:
			return strings.Compare(a, b)
		}
	})
	for _, name := range names {
		if err := copyTail(w, filepath.Join(dir, name), maxBody/int64(len(names))); err != nil {
			return err
		}
	}
	return nil
}

// runProgram writes what a program prints on both of its outputs, in order. Its error output is read as it comes: docker writes the
// error output of the container there, and would stop when nobody reads it.
func runProgram(ctx context.Context, w io.Writer, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = w, w
	cmd.WaitDelay = killDelay
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return nil
}
