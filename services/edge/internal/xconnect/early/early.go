// Package early asks net/http for extended CONNECT (RFC 8441) before net/http is initialised; see its parent.
//
// It must import nothing beyond os: Go initialises packages one at a time, always the first by import path among those
// whose imports are done. This one is due as soon as os is, and net/http needs much more than os; should both ever be due
// together, "github.com/..." sorts before "net/http".
package early

import (
	"os"
	"strings"
)

const (
	variable = "GODEBUG"
	setting  = "http2xconnect"
)

// before is the former value of the variable.
var before, present = os.LookupEnv(variable) //nolint:gochecknoglobals // handed from one initialisation to the next

func init() { //nolint:gochecknoinits // the order of initialisation is the point (docs/adr/0013)
	if strings.Contains(before, setting+"=") {
		return // the environment sets it already
	}
	value := setting + "=1"
	if before != "" {
		value = before + "," + value
	}
	_ = os.Setenv(variable, value) // fails only for names and values that no environment can hold
}

// Restore puts the environment back as it was, so that neither other packages nor children see the change.
func Restore() {
	if present {
		_ = os.Setenv(variable, before) // it was there
		return
	}
	_ = os.Unsetenv(variable) // fails only for names that no environment can hold
}
