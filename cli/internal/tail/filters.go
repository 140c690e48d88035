package tail

import (
	"fmt"
	"slices"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/management"
)

// Events are the values of --event: names, separated by commas, in any number of flags.
type Events []management.Event

// Set adds names.
func (e *Events) Set(text string) error {
	for _, name := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		event, err := management.ParseEvent(name)
		if err != nil {
			return err
		}
		if !slices.Contains(*e, event) {
			*e = append(*e, event)
		}
	}
	return nil
}

// String is the list as Set reads it.
func (e *Events) String() string {
	if e == nil {
		return ""
	}
	names := make([]string, len(*e))
	for i, event := range *e {
		names[i] = event.String()
	}
	return strings.Join(names, ",")
}

// ParseFilters makes the filters of the flags. sample is above 0 and at most 1.
func ParseFilters(events Events, level string, sample float64) (management.Filters, error) {
	f := management.Filters{Events: events, Sampling: sample}
	if !(sample > 0 && sample <= 1) { // not a number is neither
		return f, fmt.Errorf("--sample %v is not above 0 and at most 1", sample)
	}
	if level == "" {
		return f, nil
	}
	var err error
	if f.Level, err = management.ParseLevel(level); err != nil {
		return f, fmt.Errorf("--level: %w", err)
	}
	return f, nil
}
