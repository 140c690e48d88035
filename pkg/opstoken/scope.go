package opstoken

import "fmt"

// Scope is what a caller of the API may do. Each scope includes those before it.
type Scope string

// The scopes.
const (
	// Read sees the state of the deployment; nothing that it returns is a secret.
	Read Scope = "read"
	// Operate changes how the deployment runs: drains, moves, pauses, the number of connections.
	Operate Scope = "operate"
	// Admin changes what is exposed (configurations), sees documents that may hold passwords, and manages tokens.
	Admin Scope = "admin"
)

// Scopes lists all scopes, the narrowest first.
func Scopes() []Scope { return []Scope{Read, Operate, Admin} }

// rank orders the scopes; 0 is none of them.
func (s Scope) rank() int {
	for i, known := range Scopes() {
		if s == known {
			return i + 1
		}
	}
	return 0
}

// Validate reports a scope that is none.
func (s Scope) Validate() error {
	if s.rank() == 0 {
		return fmt.Errorf("scope: %q is none of read, operate, admin", string(s))
	}
	return nil
}

// UnmarshalText reads a scope, and refuses what is none.
func (s *Scope) UnmarshalText(text []byte) error {
	*s = Scope(text)
	return s.Validate()
}

// Allows reports whether a caller with this scope may use an operation that needs the other one. What is no scope allows nothing.
func (s Scope) Allows(needed Scope) bool { return needed.rank() > 0 && s.rank() >= needed.rank() }
