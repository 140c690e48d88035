// Package settings knows every flag of the connector's command line: its names, variables, kind, default and effect, in
// one table (docs/spec/lifecycle.md 11.1, docs/spec/ingress.md 5). It resolves their values: command line, then environment, then
// the configuration file's key of the same name, then the default.
//
// It parses no command line itself: each level of the command tree gets a Level with values that a flag parser can
// set. It starts no goroutine; values are read only after they were resolved.
package settings
