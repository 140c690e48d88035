package filewatch

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	// Interval is the time between two looks at the files.
	Interval = 5 * time.Second
	// DefaultMaxBytes bounds a file of a Set without a bound of its own.
	DefaultMaxBytes = 1 << 20
	// maxReads bounds the attempts to see the same content of a set twice in a row.
	maxReads = 5
)

// Set is a file, or several that belong together, such as a certificate and its key.
type Set struct {
	// Name says in events what the files are, such as "link certificate".
	Name     string
	Paths    []string
	MaxBytes int64 // of each file; zero is DefaultMaxBytes
	// Settle applies a change only when two looks of Run in a row have seen the same content, as half of a file that an editor is
	// writing may be valid, too. Check applies it at once: whoever calls it has written the file.
	Settle bool
	// Apply uses the contents, in the order of Paths. With an error the former contents must stay in force; the same contents
	// are not tried again.
	Apply func(contents [][]byte) error
}

// Event is a change that was seen: of contents that are now in use, or, with Err, of files that could not be used.
type Event struct {
	Name  string
	Paths []string
	Err   error
}

// Watcher looks at sets of files. A nil Watcher reads a set when it is added, and never again.
type Watcher struct {
	report func(Event)

	// mu protects sets and serializes checks.
	mu   sync.Mutex
	sets map[*watched]struct{}
}

// watched is a set with what was last seen of it.
type watched struct {
	Set
	seen    [sha256.Size]byte
	pending [sha256.Size]byte // a change that one look has seen
	fault   string
}

// New makes a watcher that passes changes on to report, which must not call the watcher.
func New(report func(Event)) *Watcher {
	return &Watcher{report: report, sets: make(map[*watched]struct{})}
}

// Add reads the files of s, applies them and watches them until stop is called. An error of this first time is returned, and the
// set is not watched.
func (w *Watcher) Add(s Set) (stop func(), err error) {
	if s.MaxBytes == 0 {
		s.MaxBytes = DefaultMaxBytes
	}
	entry := &watched{Set: s}
	contents, sum, err := s.read()
	if err == nil {
		err = s.Apply(contents)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	if w == nil {
		return func() {}, nil
	}
	entry.seen = sum
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sets[entry] = struct{}{}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.sets, entry)
	}, nil
}

// Check looks at all files now.
func (w *Watcher) Check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for entry := range w.sets {
		w.check(entry, true)
	}
}

// look is Check on a schedule.
func (w *Watcher) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for entry := range w.sets {
		w.check(entry, false)
	}
}

// Run looks at the files every Interval until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			w.look()
		}
	}
}

func (w *Watcher) check(entry *watched, atOnce bool) {
	contents, sum, err := entry.read()
	if err == nil {
		if sum == entry.seen {
			entry.fault, entry.pending = "", sum
			return
		}
		if entry.Settle && !atOnce && entry.pending != sum {
			entry.pending = sum
			return
		}
		entry.seen = sum
		err = entry.Apply(contents)
	}
	event := Event{Name: entry.Name, Paths: entry.Paths}
	fault := ""
	if err != nil {
		event.Err, fault = fmt.Errorf("%s: %w", entry.Name, err), err.Error()
	}
	if fault == "" || fault != entry.fault {
		w.report(event)
	}
	entry.fault = fault
}

// read reads the files until two reads in a row give the same: a set that is being replaced is not seen half old, half new. A
// set that is left half replaced is for Apply to recognize.
func (s Set) read() (contents [][]byte, sum [sha256.Size]byte, err error) {
	if contents, sum, err = s.readOnce(); err != nil || len(s.Paths) == 1 {
		return contents, sum, err
	}
	for range maxReads {
		again, sumAgain, err := s.readOnce()
		if err != nil {
			return nil, sum, err
		}
		if sumAgain == sum {
			return again, sum, nil
		}
		sum = sumAgain
	}
	return nil, sum, fmt.Errorf("%s changes all the time", strings.Join(s.Paths, ", "))
}

func (s Set) readOnce() (contents [][]byte, sum [sha256.Size]byte, err error) {
	h := sha256.New()
	for _, path := range s.Paths {
		b, err := ReadRegular(path, s.MaxBytes)
		if err != nil {
			return nil, sum, err
		}
		one := sha256.Sum256(b)
		_, _ = h.Write(one[:]) // a hash does not fail
		contents = append(contents, b)
	}
	return contents, [sha256.Size]byte(h.Sum(nil)), nil
}
