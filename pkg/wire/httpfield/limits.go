package httpfield

import (
	"errors"
	"fmt"
)

// Defaults of Limits.
const (
	DefaultMaxFields = 256
	DefaultMaxBytes  = 128 << 10
)

// FieldOverhead is counted for each field beyond its name and value, in bytes, as in HTTP/2 (RFC 9113 6.5.2).
const FieldOverhead = 32

// Room for the fields that our own edge adds to a visitor's request (addresses, identifiers, tracing).
const (
	addedFields = 32
	addedBytes  = 16 << 10
)

// Errors of Meter.Add. Both match ErrLimit with errors.Is. A request that causes one gets status 431.
var (
	ErrLimit         = errors.New("header fields exceed a limit")
	ErrTooManyFields = fmt.Errorf("%w: too many", ErrLimit)
	ErrTooLarge      = fmt.Errorf("%w: too large", ErrLimit)
)

// Limits bounds one section of fields: a header, the trailers, or an interim response. A section is limited by what it
// costs once it is decoded, not by its size on the wire: a field of three bytes, or a reference to the compression table of
// HTTP/2, takes far more memory than it takes on the wire.
type Limits struct {
	MaxFields int `yaml:"max_fields" usage:"limit of fields in one header or trailer section; status 431 beyond"`
	MaxBytes  int `yaml:"max_bytes" usage:"limit of the decoded bytes of one section: names, values and 32 a field; status 431 beyond"`
}

// DefaultLimits are the limits for a section that a visitor or an origin sends.
func DefaultLimits() Limits { return Limits{MaxFields: DefaultMaxFields, MaxBytes: DefaultMaxBytes} }

// BehindEdge gives the limits for a request that has passed an edge which enforces l: the edge adds fields of its own, and
// a request that it accepted must not fail one hop later.
func (l Limits) BehindEdge() Limits {
	return Limits{MaxFields: l.MaxFields + addedFields, MaxBytes: l.MaxBytes + addedBytes}
}

// Validate reports every limit that is not positive.
func (l Limits) Validate() error {
	var errs []error
	if l.MaxFields <= 0 {
		errs = append(errs, errors.New("max_fields: not positive"))
	}
	if l.MaxBytes <= 0 {
		errs = append(errs, errors.New("max_bytes: not positive"))
	}
	return errors.Join(errs...)
}

// Meter starts to measure one section.
func (l Limits) Meter() Meter { return Meter{fields: l.MaxFields, bytes: l.MaxBytes} }

// Meter measures one section. The zero Meter refuses every field.
type Meter struct{ fields, bytes int } // what is left

// Add counts a field by the sizes of its name and value, in bytes. It fails with ErrTooManyFields or ErrTooLarge when the
// section exceeds its limits.
func (m *Meter) Add(name, value int) error {
	m.fields--
	m.bytes -= name + value + FieldOverhead
	switch {
	case m.fields < 0:
		return ErrTooManyFields
	case m.bytes < 0:
		return ErrTooLarge
	default:
		return nil
	}
}
