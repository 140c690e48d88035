// Package ratelimit decides which responses of the name server are sent over UDP. A forged source address turns a name server into
// an amplifier, so that responses to one network are limited: beyond the rate some are truncated, so that an honest resolver
// retries over TCP, and the others are dropped.
//
// It is pure: the time is an argument, and callers serialise the calls on one Limiter.
package ratelimit
