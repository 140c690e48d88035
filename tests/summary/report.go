package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // instead of Package in events about builds
	Test       string
	Elapsed    float64 // seconds
	Output     string
}

// result is a finished test.
type result struct {
	pkg, name string
	seconds   float64
	reason    string // of a skipped test
}

func (r result) String() string { return strings.TrimPrefix(r.pkg, module) + " " + r.name }

// module is the common prefix of all package paths, which the lists leave out.
const module = "github.com/culvert-tunnel/culvert/"

// report collects events and prints them.
type report struct {
	out              io.Writer
	output           map[string][]string // by package, and by package and test
	passed           []result
	skipped          []result
	failed           []result
	packages, broken int
}

func newReport(out io.Writer) *report { return &report{out: out, output: map[string][]string{}} }

func (r *report) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(r.out, format, args...) // the caller sees the error when it flushes
}

// line handles one line of input. What is not an event is printed as it is.
func (r *report) line(b []byte) {
	var e event
	if len(b) == 0 || b[0] != '{' || json.Unmarshal(b, &e) != nil {
		r.printf("%s\n", b)
		return
	}
	switch {
	case e.Action == "build-output":
		r.printf("%s", e.Output)
	case e.Action == "build-fail":
		r.broken++
	case e.Action == "output":
		key := e.key()
		r.output[key] = append(r.output[key], e.Output)
	case e.Test != "":
		r.testEnds(e)
	default:
		r.packageEnds(e)
	}
}

func (e event) key() string { return e.Package + " " + e.Test }

// testEnds handles the event of a test; most of them say that it starts, pauses or continues.
func (r *report) testEnds(e event) {
	res := result{pkg: e.Package, name: e.Test, seconds: e.Elapsed}
	switch e.Action {
	case "pass":
		r.passed = append(r.passed, res)
	case "skip":
		res.reason = reason(r.output[e.key()])
		r.skipped = append(r.skipped, res)
	case "fail":
		r.failed = append(r.failed, res)
		r.printf("%s", strings.Join(r.output[e.key()], ""))
	default:
		return
	}
	delete(r.output, e.key())
}

// packageEnds handles the event of a package and prints the line of `go test` for it.
func (r *report) packageEnds(e event) {
	name, output := e.Package, r.output[e.key()]
	switch e.Action {
	case "pass", "skip":
		for _, line := range output {
			if strings.HasPrefix(line, "ok") || strings.HasPrefix(line, "?") {
				r.printf("%s", line)
			}
		}
	case "fail":
		r.failPackage(name, output)
		r.printf("FAIL\t%s\t%.3fs\n", name, e.Elapsed)
	default:
		return
	}
	r.packages++
	delete(r.output, e.key())
}

// failPackage prints what belongs to no finished test: a panic or a timeout ends the program in the middle of one.
func (r *report) failPackage(name string, output []string) {
	r.broken++
	for _, line := range output {
		if !strings.HasPrefix(line, "FAIL") && !strings.HasPrefix(line, "-test.shuffle") {
			r.printf("%s", line)
		}
	}
	var unfinished []string
	for key := range r.output {
		if pkg, test, _ := strings.Cut(key, " "); pkg == name && test != "" {
			unfinished = append(unfinished, key)
		}
	}
	slices.Sort(unfinished)
	for _, key := range unfinished {
		r.printf("%s", strings.Join(r.output[key], ""))
		delete(r.output, key)
	}
}

// reason finds the message of a skipped test in its output, as in "    x_test.go:7: no IPv6 here".
func reason(output []string) string {
	for _, line := range slices.Backward(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "---") || strings.HasPrefix(line, "===") {
			continue
		}
		if _, after, found := strings.Cut(line, ".go:"); found {
			if _, message, found := strings.Cut(after, ": "); found {
				return message
			}
		}
		return line
	}
	return "no reason given"
}

// finish prints the summary and reports whether everything passed.
func (r *report) finish() bool {
	r.printf("\n%d packages: %d tests passed, %d skipped, %d failed\n", r.packages, len(r.passed), len(r.skipped), len(r.failed))
	r.slowTests()
	r.skips()
	for _, res := range r.failed {
		r.printf("failed: %s\n", res)
	}
	ok := len(r.failed) == 0 && r.broken == 0 && r.packages > 0
	if !ok {
		r.printf("FAIL\n")
	}
	return ok
}

func (r *report) slowTests() {
	top := slices.DeleteFunc(slices.Clone(r.passed), func(res result) bool { return strings.Contains(res.name, "/") })
	slices.SortStableFunc(top, func(a, b result) int { return cmp.Compare(b.seconds, a.seconds) })
	r.printf("slowest tests:\n")
	for _, res := range top[:min(slowest, len(top))] {
		r.printf("  %6.2fs  %s\n", res.seconds, res)
	}
}

// skips lists the skipped tests, grouped by reason.
func (r *report) skips() {
	if len(r.skipped) == 0 {
		return
	}
	r.printf("skipped tests:\n")
	slices.SortStableFunc(r.skipped, func(a, b result) int {
		return cmp.Or(strings.Compare(a.reason, b.reason), strings.Compare(a.String(), b.String()))
	})
	for i, res := range r.skipped {
		if i == 0 || res.reason != r.skipped[i-1].reason {
			r.printf("  %s\n", res.reason)
		}
		r.printf("    %s\n", res)
	}
}
