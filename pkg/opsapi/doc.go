// Package opsapi describes the ops API: the table of its operations with their scopes, the JSON of its requests and responses, and the
// OpenAPI 3.1 document that is made of both. Servers mount their handlers by the table and clients decode into the same types, so the
// document says what is served; a test walks the routes of the servers both ways.
//
// It calls nothing and serves nothing, and has no clock. Everything in it may be used by several goroutines.
package opsapi
