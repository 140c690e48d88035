package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
)

// slowest is how many tests the list of the slowest ones has.
const slowest = 10

// maxLine bounds one line of test output.
const maxLine = 16 << 20

func main() {
	ok, err := run(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintf(os.Stderr, "summary: %v\n", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run reads events until the end of the input and reports whether everything passed.
func run(in io.Reader, out io.Writer) (ok bool, err error) {
	w := bufio.NewWriter(out)
	r := newReport(w)
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for lines.Scan() {
		r.line(lines.Bytes())
		if err := w.Flush(); err != nil {
			return false, err
		}
	}
	if err := lines.Err(); err != nil {
		return false, fmt.Errorf("read test events: %w", err)
	}
	ok = r.finish()
	return ok, w.Flush()
}
