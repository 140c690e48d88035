// Package opstoken is the bearer tokens of the ops API and their scopes: how one is made, what is kept of it, and whether a given one is
// it.
//
// A token is 256 bits from a random source, so its SHA-256 is kept instead of it: who reads the store learns no token, and there is
// nothing to guess that a slow hash would protect. Pure: the time and the random source are arguments.
package opstoken
