package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// figure is one measured value. Bound is the most that it may be; a negative one is none.
type figure struct {
	Part  string  `json:"part"`
	Name  string  `json:"name"`
	Unit  string  `json:"unit,omitempty"`
	Value float64 `json:"value"`
	Bound float64 `json:"bound"`
}

// free stands for no bound.
const free = -1

func (f figure) holds() bool { return f.Bound < 0 || f.Value <= f.Bound }

// report prints a row per figure.
func report(w io.Writer, figures []figure) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	lines := []string{"part\tfigure\tvalue\tbound\t"}
	last := ""
	for _, f := range figures {
		part, bound, mark := f.Part, "-", ""
		if part == last {
			part = ""
		}
		last = f.Part
		if f.Bound >= 0 {
			bound = "<= " + short(f.Bound)
		}
		if !f.holds() {
			mark = "missed"
		}
		lines = append(lines, strings.Join([]string{part, f.Name, strings.TrimSpace(short(f.Value) + " " + f.Unit), bound, mark}, "\t"))
	}
	if _, err := io.WriteString(tw, strings.Join(lines, "\n")+"\n"); err != nil {
		return fmt.Errorf("print the figures: %w", err)
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("print the figures: %w", err)
	}
	return nil
}

// judge is an error that names the figures beyond their bounds, or nil.
func judge(figures []figure) error {
	var missed []string
	for _, f := range figures {
		if !f.holds() {
			missed = append(missed, fmt.Sprintf("%s: %s is %s, more than %s", f.Part, f.Name, short(f.Value), short(f.Bound)))
		}
	}
	if len(missed) == 0 {
		return nil
	}
	return fmt.Errorf("beyond their bounds: %s", strings.Join(missed, "; "))
}

// short is a number with three digits that count, or all before the point.
func short(v float64) string {
	digits := 3
	for limit := 1.0; digits > 0 && v >= limit; limit *= 10 {
		digits--
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}
