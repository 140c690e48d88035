// Package headpolicy decides which header and trailer fields an edge passes on, which it drops and which it sets, between
// a visitor and a connector (docs/headers.md has the table). An origin may therefore trust what the edge asserts about a
// visitor.
//
// AppendRequest makes the metadata of a ConnectRequest from a visitor's header. ParseResponse makes a visitor's header from
// the metadata of a ConnectResponse. Both enforce the limits of package httpfield, which count what a field costs in memory.
//
// The package is pure; its tables are built once and never change.
package headpolicy
