package tunnel

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// uuidSize is the size of every identity on the wire, in bytes (docs/spec/wire.md 8.1).
const uuidSize = 16

// ID names a tunnel: the durable thing that an operator creates. It is a UUID.
type ID [uuidSize]byte

// ConnectorID names one running installation of a connector: one shared value for all workers of a deployment
// (docs/spec/lifecycle.md 14.2). It is a UUID.
type ConnectorID [uuidSize]byte

// ParseID reads a UUID in text form, with or without dashes, in either letter case.
func ParseID(s string) (ID, error) {
	u, err := parseUUID(s)
	if err != nil {
		return ID{}, fmt.Errorf("tunnel id: %w", err)
	}
	return ID(u), nil
}

// ParseConnectorID reads a UUID in text form, with or without dashes, in either letter case.
func ParseConnectorID(s string) (ConnectorID, error) {
	u, err := parseUUID(s)
	if err != nil {
		return ConnectorID{}, fmt.Errorf("connector id: %w", err)
	}
	return ConnectorID(u), nil
}

// NewID makes a random (version 4) tunnel id from 16 bytes of r.
func NewID(r io.Reader) (ID, error) {
	u, err := randomUUID(r)
	return ID(u), err
}

// NewConnectorID makes a random (version 4) connector id from 16 bytes of r.
func NewConnectorID(r io.Reader) (ConnectorID, error) {
	u, err := randomUUID(r)
	return ConnectorID(u), err
}

// String is the lower-case text form with dashes.
func (id ID) String() string { return formatUUID(id) }

// IsZero reports whether id is the all-zero id, which names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText is the form used in JSON, YAML and store records.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText accepts what ParseID accepts.
func (id *ID) UnmarshalText(b []byte) error {
	v, err := ParseID(string(b))
	if err != nil {
		return err
	}
	*id = v
	return nil
}

// String is the lower-case text form with dashes.
func (id ConnectorID) String() string { return formatUUID(id) }

// IsZero reports whether id is the all-zero id, which names nothing.
func (id ConnectorID) IsZero() bool { return id == ConnectorID{} }

// MarshalText is the form used in JSON, YAML and store records.
func (id ConnectorID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText accepts what ParseConnectorID accepts.
func (id *ConnectorID) UnmarshalText(b []byte) error {
	v, err := ParseConnectorID(string(b))
	if err != nil {
		return err
	}
	*id = v
	return nil
}

func formatUUID(u [uuidSize]byte) string {
	var b [36]byte
	hex.Encode(b[0:8], u[0:4])
	hex.Encode(b[9:13], u[4:6])
	hex.Encode(b[14:18], u[6:8])
	hex.Encode(b[19:23], u[8:10])
	hex.Encode(b[24:36], u[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

func parseUUID(s string) ([uuidSize]byte, error) {
	var u [uuidSize]byte
	digits := s
	if len(s) == 36 {
		if s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
			return u, fmt.Errorf("%q is not a UUID", s)
		}
		digits = strings.ReplaceAll(s, "-", "")
	}
	if len(digits) != 2*uuidSize {
		return u, fmt.Errorf("%q is not a UUID", s)
	}
	if _, err := hex.Decode(u[:], []byte(digits)); err != nil {
		return [uuidSize]byte{}, fmt.Errorf("%q is not a UUID", s)
	}
	return u, nil
}

func randomUUID(r io.Reader) ([uuidSize]byte, error) {
	var u [uuidSize]byte
	if _, err := io.ReadFull(r, u[:]); err != nil {
		return u, fmt.Errorf("random source: %w", err)
	}
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return u, nil
}
