package settings

import (
	"fmt"
	"strconv"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/redact"
)

// Kind is what a flag's text must be.
type Kind uint8

// The kinds of flags.
const (
	Text Kind = iota
	Bool
	Int
	Uint
	Duration
	List // given several times, or separated by commas
)

// Effect says what becomes of a flag that is given.
type Effect uint8

// The effects of flags.
const (
	// Acts is a flag that does what the reference does with it.
	Acts Effect = iota
	// Ignored is a flag that has no effect in the reference either, or none that a user could miss.
	Ignored
	// Later is a flag whose feature this release does not have: it is accepted with a warning.
	Later
)

// Flag is one row of the table.
type Flag struct {
	Name    string
	Aliases []string
	Env     []string
	Kind    Kind
	Default string
	Effect  Effect
	// NoFile flags cannot be given in the configuration file.
	NoFile bool
	// Secret values are shown nowhere.
	Secret bool
	// Usage is what the flag does; for one without effect, why it has none.
	Usage string
}

// check says whether text fits the flag's kind.
func (f *Flag) check(text string) error {
	var err error
	switch f.Kind {
	case Bool:
		_, err = strconv.ParseBool(text)
	case Int:
		_, err = strconv.Atoi(text)
	case Uint:
		_, err = strconv.ParseUint(text, 0, 64)
	case Duration:
		_, err = time.ParseDuration(text)
	case Text, List:
	}
	if err == nil {
		return nil
	}
	if f.Secret {
		text = redact.Mask
	}
	return fmt.Errorf("%q is not %s", redact.Text(text), f.Kind)
}

// String says what a value of this kind is.
func (k Kind) String() string {
	switch k {
	case Bool:
		return "true or false"
	case Int:
		return "a whole number"
	case Uint:
		return "a non-negative whole number"
	case Duration:
		return "a duration such as 30s"
	case List:
		return "a list"
	case Text:
	}
	return "a text"
}
