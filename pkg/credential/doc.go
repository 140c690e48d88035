// Package credential reads and writes the two forms in which an operator holds tunnel credentials: the run token and
// the credentials file (docs/spec/wire.md 13). It also computes the account hash that percentage rollouts use.
//
// It opens no file and reads no environment. Errors say what is wrong without showing any part of the input, as the
// input contains the secret. All functions are pure and safe for concurrent use.
package credential
