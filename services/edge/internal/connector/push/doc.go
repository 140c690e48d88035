// Package push keeps the configuration of connectors up to date: it pushes the configuration of a tunnel to each of the
// tunnel's connections that supports remote configuration, and pushes again when the configuration changes.
//
// It reads configurations from the catalog and never changes them. Serve runs in the goroutine of a session. A Pusher is safe
// for concurrent use.
package push
