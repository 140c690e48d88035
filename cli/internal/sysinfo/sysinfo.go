package sysinfo

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// limit bounds a collection: a file system on a network that is gone may never respond.
const limit = 10 * time.Second

// Report is the response on /diag/system.
type Report struct {
	Info Info `json:"info"`
	// Errors say what is missing in Info: for each group of figures at most one.
	Errors map[string]Fault `json:"errors"`
}

// Info is the machine. Zero values are left out.
type Info struct {
	MemoryMaximum         uint64 `json:"memoryMaximum,omitempty"` // KB
	MemoryCurrent         uint64 `json:"memoryCurrent,omitempty"` // KB that programs use
	FileDescriptorMaximum uint64 `json:"fileDescriptorMaximum,omitempty"`
	FileDescriptorCurrent uint64 `json:"fileDescriptorCurrent,omitempty"`
	OSSystem              string `json:"osSystem,omitempty"`
	HostName              string `json:"hostName,omitempty"`
	OSVersion             string `json:"osVersion,omitempty"`
	OSRelease             string `json:"osRelease,omitempty"`
	Architecture          string `json:"architecture,omitempty"`
	// Version is that of this program. The reference's tools read it by this name.
	Version   string `json:"cloudflaredVersion,omitempty"`
	GoVersion string `json:"goVersion,omitempty"`
	GoArch    string `json:"goArch,omitempty"`
	Disk      []Disk `json:"disk,omitempty"`
}

// Disk is a mounted file system.
type Disk struct {
	Name    string `json:"name"`
	Maximum uint64 `json:"sizeMaximum"` // KB
	Current uint64 `json:"sizeCurrent"` // KB in use
}

// Fault says why a group of figures is missing. Raw is the text that could not be understood, if there was one.
type Fault struct {
	Err string `json:"error"`
	Raw string `json:"rawInfo"`
}

// rawError is an error about a text.
type rawError struct {
	err error
	raw string
}

func (e *rawError) Error() string { return e.err.Error() }
func (e *rawError) Unwrap() error { return e.err }

// part is one group of figures: the name of its error, and what fills it in.
type part struct {
	name string
	read func(ctx context.Context) (fill func(*Info), err error)
}

func parts() []part {
	return []part{
		{"operatingSystemInformationError", system},
		{"memoryInformationError", memory},
		{"fileDescriptorsInformationError", descriptors},
		{"diskVolumeInformationError", disks},
	}
}

// Collector collects reports. One collection runs at a time, so that a call that never returns is not made again and again.
type Collector struct {
	version string
	parts   []part
	limit   time.Duration

	mu   sync.Mutex
	busy map[string]bool // parts that are being read
}

// New makes a collector; version is the program's.
func New(version string) *Collector {
	return &Collector{version: version, parts: parts(), limit: limit, busy: make(map[string]bool)}
}

var errBusy = errors.New("the last request for these figures has not ended yet")

// Collect asks the system. It returns within 10 seconds, or when ctx ends, with what is known by then.
func (c *Collector) Collect(ctx context.Context) Report {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	r := Report{Errors: map[string]Fault{}}
	r.Info.Version, r.Info.GoVersion, r.Info.GoArch = c.version, runtime.Version(), runtime.GOARCH
	results := make([]<-chan result, len(c.parts))
	for i, p := range c.parts {
		results[i] = c.start(ctx, p)
	}
	for i, p := range c.parts {
		res := result{}
		select {
		case res = <-results[i]:
		case <-ctx.Done():
			res.err = fmt.Errorf("no response of the system: %w", context.Cause(ctx))
		}
		if res.err != nil {
			r.Errors[p.name] = fault(res.err)
			continue
		}
		res.fill(&r.Info)
	}
	return r
}

type result struct {
	fill func(*Info)
	err  error
}

// start reads a part in a goroutine of its own, which may outlive the collection.
func (c *Collector) start(ctx context.Context, p part) <-chan result {
	out := make(chan result, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy[p.name] {
		out <- result{err: errBusy}
		return out
	}
	c.busy[p.name] = true
	go func() {
		fill, err := p.read(ctx)
		c.mu.Lock()
		c.busy[p.name] = false
		c.mu.Unlock()
		out <- result{fill, err}
	}()
	return out
}

func fault(err error) Fault {
	f := Fault{Err: err.Error()}
	var raw *rawError
	if errors.As(err, &raw) {
		f.Raw = raw.raw
	}
	return f
}
