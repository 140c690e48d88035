package settings

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/redact"
)

// Source says where a value came from.
type Source uint8

// The sources, the strongest last.
const (
	FromDefault Source = iota
	FromFile
	FromEnv
	FromCommandLine
)

// Value is one flag on one level of the command line. It is a flag.Value.
type Value struct {
	Flag  Flag
	texts []string
	given bool
}

// String shows the default; parsers use it for help texts.
func (v *Value) String() string {
	if v == nil {
		return ""
	}
	return v.Flag.Default
}

// Set takes what stands on the command line; lists grow, everything else is replaced.
func (v *Value) Set(text string) error {
	if err := v.Flag.check(text); err != nil {
		return err
	}
	if v.Flag.Kind == List && v.given {
		v.texts = append(v.texts, splitList(text)...)
		return nil
	}
	v.texts, v.given = v.Flag.split(text), true
	return nil
}

// IsBoolFlag lets parsers accept --flag without a value.
func (v *Value) IsBoolFlag() bool { return v.Flag.Kind == Bool }

func (f *Flag) split(text string) []string {
	if f.Kind == List {
		return splitList(text)
	}
	return []string{text}
}

func splitList(text string) []string {
	var out []string
	for _, item := range strings.Split(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// Level is all flags of the table on one level of the command line.
type Level []*Value

// NewLevel makes a level on which nothing is given.
func NewLevel() Level {
	table := Table()
	level := make(Level, len(table))
	for i, f := range table {
		level[i] = &Value{Flag: f}
	}
	return level
}

// Settings are the values in force.
type Settings struct {
	values map[string]setting
	order  []string
}

type setting struct {
	flag   Flag
	texts  []string
	source Source
}

// Resolve gathers the values: the innermost level on which a flag is given wins, then its variables, then the file's
// key. levels are in order from the outermost; file maps keys to values and may be nil. All faults come back joined.
func Resolve(levels []Level, getenv func(string) string, file map[string][]string, fileName string) (*Settings, error) {
	s := &Settings{values: make(map[string]setting)}
	var problems []error
	for i, f := range Table() {
		st, err := resolve(&f, i, levels, getenv, file, fileName)
		problems = append(problems, err)
		s.values[f.Name] = st
		s.order = append(s.order, f.Name)
	}
	return s, errors.Join(problems...)
}

func resolve(f *Flag, row int, levels []Level, getenv func(string) string, file map[string][]string, fileName string) (setting, error) {
	for _, level := range slices.Backward(levels) {
		if v := level[row]; v.given {
			return setting{flag: *f, texts: v.texts, source: FromCommandLine}, nil
		}
	}
	for _, name := range f.Env {
		if text := getenv(name); text != "" {
			if err := f.check(text); err != nil {
				return setting{flag: *f}, fmt.Errorf("environment variable %s: %w", name, err)
			}
			return setting{flag: *f, texts: f.split(text), source: FromEnv}, nil
		}
	}
	if texts, err := f.fromFile(file); len(texts) > 0 || err != nil {
		if err != nil {
			err = fmt.Errorf("%s: %w", fileName, err)
		}
		return setting{flag: *f, texts: texts, source: FromFile}, err
	}
	if f.Default == "" {
		return setting{flag: *f}, nil
	}
	return setting{flag: *f, texts: f.split(f.Default)}, nil
}

// fromFile finds the flag's key, by any of its names.
func (f *Flag) fromFile(file map[string][]string) ([]string, error) {
	if f.NoFile {
		return nil, nil
	}
	for _, name := range append([]string{f.Name}, f.Aliases...) {
		texts, ok := file[name]
		if !ok {
			continue
		}
		if f.Kind != List && len(texts) != 1 {
			return nil, fmt.Errorf("%s: a list where one value is expected", name)
		}
		for _, text := range texts {
			if err := f.check(text); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		return texts, nil
	}
	return nil, nil
}

// must finds a row; a name that is not in the table is a programmer's mistake.
func (s *Settings) must(name string) setting {
	st, ok := s.values[name]
	if !ok {
		panic("settings: no flag " + name)
	}
	return st
}

// Source says where name's value came from.
func (s *Settings) Source(name string) Source { return s.must(name).source }

// Known reports whether name is a flag of the table.
func (s *Settings) Known(name string) bool {
	_, ok := s.values[name]
	return ok
}

// IsSet reports whether name was given at all.
func (s *Settings) IsSet(name string) bool { return s.must(name).source != FromDefault }

// Text is the value of a flag, "" when there is none.
func (s *Settings) Text(name string) string {
	if texts := s.must(name).texts; len(texts) > 0 {
		return texts[0]
	}
	return ""
}

// List is the value of a list.
func (s *Settings) List(name string) []string { return slices.Clone(s.must(name).texts) }

// Bool is the value of a boolean flag. Values were checked when they were given; a missing one is false.
func (s *Settings) Bool(name string) bool {
	b, err := strconv.ParseBool(s.Text(name))
	return err == nil && b
}

// Int is the value of a number, 0 when there is none.
func (s *Settings) Int(name string) int {
	n, err := strconv.Atoi(s.Text(name))
	if err != nil {
		return 0
	}
	return n
}

// Uint is the value of a non-negative number, 0 when there is none.
func (s *Settings) Uint(name string) uint64 {
	n, err := strconv.ParseUint(s.Text(name), 0, 64)
	if err != nil {
		return 0
	}
	return n
}

// Duration is the value of a duration, 0 when there is none.
func (s *Settings) Duration(name string) time.Duration {
	d, err := time.ParseDuration(s.Text(name))
	if err != nil {
		return 0
	}
	return d
}

// With is a copy in which name has the value text, as if it had been given on the command line.
func (s *Settings) With(name, text string) *Settings {
	st := s.must(name)
	st.texts, st.source = st.flag.split(text), FromCommandLine
	out := &Settings{values: maps.Clone(s.values), order: s.order}
	out.values[name] = st
	return out
}

// Shown lists what was given, for a log line or a report: secrets are masked, also those in URLs.
func (s *Settings) Shown() map[string]string {
	out := make(map[string]string)
	for _, name := range s.order {
		st := s.values[name]
		if st.source == FromDefault {
			continue
		}
		switch text := strings.Join(st.texts, ","); {
		case st.flag.Secret:
			out[name] = redact.Mask
		default:
			out[name] = redact.Setting(name, text)
		}
	}
	return out
}

// Configuration lists what was given and holds no secret, each value as the reference's /diag/configuration shows it: a list in
// brackets, and the paths of log files absolute (docs/spec/lifecycle.md 10.2). absolute makes a path absolute.
func (s *Settings) Configuration(absolute func(string) (string, error)) map[string]string {
	out := make(map[string]string)
	for name, text := range s.Reported() {
		if s.must(name).flag.Kind == List {
			text = "[" + strings.Join(s.List(name), " ") + "]"
		}
		if name == "logfile" || name == "log-directory" {
			if path, err := absolute(text); err == nil {
				text = path
			}
		}
		out[name] = text
	}
	return out
}

// AsReference lists what was given on the command line and in the file as the reference logs it: under each name of a flag, lists in
// brackets, and mask in the place of a secret.
func (s *Settings) AsReference(mask string) map[string]string {
	out := make(map[string]string)
	for _, name := range s.order {
		st := s.values[name]
		if st.source != FromCommandLine && st.source != FromFile {
			continue
		}
		text := redact.Setting(name, strings.Join(st.texts, " "))
		switch {
		case st.flag.Secret:
			text = mask
		case st.flag.Kind == List:
			text = "[" + text + "]"
		case st.flag.Kind == Duration:
			text = s.Duration(name).String()
		}
		for _, n := range append([]string{name}, st.flag.Aliases...) {
			out[n] = text
		}
	}
	return out
}

// Reported lists what was given and holds no secret, for the report to the edge.
func (s *Settings) Reported() map[string]string {
	out := s.Shown()
	for name, text := range out {
		if strings.Contains(text, redact.Mask) {
			delete(out, name)
		}
	}
	return out
}

// Idle is a flag that was given and has no effect.
type Idle struct {
	Flag, Reason string
	Effect       Effect
}

// WithoutEffect lists the flags that were given and have no effect, in the order of the table.
func (s *Settings) WithoutEffect() []Idle {
	var out []Idle
	for _, name := range s.order {
		if st := s.values[name]; st.flag.Effect != Acts && st.source != FromDefault {
			out = append(out, Idle{Flag: name, Reason: st.flag.Usage, Effect: st.flag.Effect})
		}
	}
	return out
}
