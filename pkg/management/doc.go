// Package management has what the two ends of the management service share (docs/spec/lifecycle.md 10.6): access tokens, the JSON
// messages of a log stream, and the filters that choose lines.
//
// A proxy serves the service, an edge signs tokens and checks them, and `culvert tail` is a client. The package is pure: whoever needs
// the time passes it.
package management
