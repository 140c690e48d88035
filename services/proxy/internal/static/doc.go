// Package static serves files: those of a directory (a service file:///DIR), and the one file of the action respond (docs/files.md).
// Nothing is read ahead or kept in memory, and nothing is open between two requests, so that a directory may be replaced at any time.
package static
