package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// maxCells bounds the table of a comparison. Of documents with more lines that differ, all those lines are shown as changed.
const maxCells = 4 << 20

// Diff compares two documents line by line, after both were written in the same way: a line that only the former has begins with "-", one
// that only the latter has with "+", one of both with a space. It is empty when they mean the same. The order of keys does not count.
func Diff(former, latter []byte) (string, error) {
	a, err := lines(former)
	if err != nil {
		return "", err
	}
	b, err := lines(latter)
	if err != nil {
		return "", err
	}
	if slices.Equal(a, b) {
		return "", nil
	}
	head := 0
	for head < min(len(a), len(b)) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < min(len(a), len(b))-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	var out strings.Builder
	write := func(mark string, text ...string) {
		for _, l := range text {
			out.WriteString(mark + l + "\n")
		}
	}
	write(" ", a[:head]...)
	middle(a[head:len(a)-tail], b[head:len(b)-tail], write)
	write(" ", a[len(a)-tail:]...)
	return out.String(), nil
}

// lines writes a document in one way: indented, with sorted keys.
func lines(document []byte) ([]string, error) {
	var v any
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("compare documents: %w", err)
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("compare documents: %w", err)
	}
	return strings.Split(string(b), "\n"), nil
}

// middle writes the lines between the common beginning and end, by the longest common subsequence.
func middle(a, b []string, write func(mark string, text ...string)) {
	if len(a)*len(b) > maxCells {
		write("-", a...)
		write("+", b...)
		return
	}
	width := len(b) + 1
	longest := make([]int32, (len(a)+1)*width) // of a[i:] and b[j:]
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				longest[i*width+j] = longest[(i+1)*width+j+1] + 1
			} else {
				longest[i*width+j] = max(longest[(i+1)*width+j], longest[i*width+j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] == b[j]:
			write(" ", a[i])
			i, j = i+1, j+1
		case longest[(i+1)*width+j] >= longest[i*width+j+1]:
			write("-", a[i])
			i++
		default:
			write("+", b[j])
			j++
		}
	}
	write("-", a[i:]...)
	write("+", b[j:]...)
}
