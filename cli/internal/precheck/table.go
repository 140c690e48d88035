package precheck

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

const (
	title = "CONNECTIVITY PRE-CHECKS"
	// columnGap is the number of spaces between two columns, boxPadding that between the border and the text.
	columnGap  = 2
	boxPadding = 2
	// maxCell is the length of the longest cell in characters: an error of a resolver can be longer than any terminal is wide.
	maxCell = 120
)

// Lines is the table of the report with its box, from the upper border to the lower one.
func (r Report) Lines() []string {
	lines := r.rows()
	for _, res := range r.Results {
		if res.Status != Fail || res.Action == "" {
			continue
		}
		severity := "WARNING"
		if r.HardFail() {
			severity = "ERROR"
		}
		lines = append(lines, severity+": "+res.Action)
	}
	return box(append(lines, "", r.summary()))
}

// rows are the aligned columns.
func (r Report) rows() []string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, columnGap, ' ', 0)
	text := "COMPONENT\tTARGET\tSTATUS\tDETAILS\n"
	for _, res := range r.Results {
		text += fmt.Sprintf("%s\t%s\t%s\t%s\n", res.Kind, cell(res.Target), res.Status, cell(res.Details))
	}
	_, _ = fmt.Fprint(w, text) // a strings.Builder does not fail
	_ = w.Flush()
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// cell is text without anything that would break a row in two, and not longer than the table can be.
func cell(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxCell {
		return string(runes[:maxCell-3]) + "..."
	}
	return text
}

// summary is the last line.
func (r Report) summary() string {
	switch {
	case r.HardFail():
		return "SUMMARY: Environment has critical failures. cloudflared may not be able to establish a tunnel."
	case r.Degraded() && r.Suggested == "":
		return "SUMMARY: Environment ready with degraded transport."
	case r.Degraded():
		return fmt.Sprintf("SUMMARY: Environment ready with degraded transport. cloudflared will proceed using '%s'.", r.Suggested)
	case r.Suggested == "":
		return "SUMMARY: Environment is healthy."
	default:
		return fmt.Sprintf("SUMMARY: Environment is healthy. cloudflared will use '%s' as primary protocol.", r.Suggested)
	}
}

// box draws a border around lines, with the title above them.
func box(lines []string) []string {
	width := len(title)
	for _, l := range lines {
		width = max(width, utf8.RuneCountInString(l))
	}
	left := (width - len(title)) / 2
	border := "+" + strings.Repeat("-", width+2*boxPadding) + "+"
	framed := func(l string) string {
		pad := strings.Repeat(" ", boxPadding)
		return "|" + pad + l + strings.Repeat(" ", width-utf8.RuneCountInString(l)) + pad + "|"
	}
	out := []string{border, framed(strings.Repeat(" ", left) + title), border}
	for _, l := range lines {
		out = append(out, framed(l))
	}
	return append(out, border)
}
