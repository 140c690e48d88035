// Package redact removes secrets from text that is logged or shown: the user and password of URLs, secret query parameters,
// bearer tokens, tunnel tokens, and the values of settings whose name says that they are secret.
//
// Whoever logs or shows a URL or a setting uses it; the loggers of package telemetry and the problem documents of package ops
// pass everything through Text, so that a URL inside an error of another library is covered as well.
//
// The package is pure. It works on text alone: a secret without any of these forms cannot be
// recognized, and must not be put into a message.
package redact
