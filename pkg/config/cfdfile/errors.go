package cfdfile

import (
	"bytes"
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxShown is how many problems an error's text names.
const maxShown = 10

// Error says what makes a configuration file unreadable, and where.
type Error struct {
	Path     string
	Problems []Problem
}

// Problem is one place that is wrong; lines and columns count from 1.
type Problem struct {
	Line, Column int
	Text         string
}

// Error is one line, however many problems there are.
func (e *Error) Error() string {
	texts := make([]string, 0, maxShown+1)
	for i, p := range e.Problems {
		if i == maxShown {
			texts = append(texts, fmt.Sprintf("and %d more", len(e.Problems)-i))
			break
		}
		texts = append(texts, p.String())
	}
	return "error parsing YAML in config file at " + e.Path + ": " + strings.Join(texts, "; ")
}

// String is the place and the text.
func (p Problem) String() string {
	return fmt.Sprintf("line %d, column %d: %s", p.Line, p.Column, p.Text)
}

// linePrefix is how the library begins its messages; the line may be that of an enclosing block.
var linePrefix = regexp.MustCompile(`^line (\d+): `)

// locate finds the place of a syntax error, of which the library tells at most a line: the end of the shortest beginning of
// the content that gives the same error. That takes one parse for each bit of the length.
func locate(b []byte, err error) Problem {
	want := err.Error()
	size := 1 + sort.Search(len(b)-1, func(n int) bool {
		_, err := compose(b[:n+1])
		return err != nil && err.Error() == want
	})
	before := b[:max(0, min(size, len(b))-1)]
	start := bytes.LastIndexByte(before, '\n') + 1
	p := Problem{
		Line:   bytes.Count(before, []byte{'\n'}) + 1,
		Column: utf8.RuneCount(before[start:]) + 1,
		Text:   strings.TrimPrefix(want, "yaml: "),
	}
	if m := linePrefix.FindStringSubmatch(p.Text); m != nil {
		p.Text = strings.TrimPrefix(p.Text, m[0])
		if m[1] != strconv.Itoa(p.Line) {
			p.Text += " (reported for line " + m[1] + ")"
		}
	}
	return p
}
