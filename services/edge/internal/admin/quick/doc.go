// Package quick gives tunnels to strangers: the service that `tunnel --url` asks, in the protocol of the reference
// (docs/spec/lifecycle.md 11.4).
//
// A tunnel gets a random host name below one domain. It disappears when it had no connection for a while. How many there are, and how
// many are made in a minute, is bounded.
package quick
