// Package opsclient calls the ops API of a supervisor: it reads the state of a deployment, changes what operators desire, and sends
// commands. Package opsapi has the JSON. Any supervisor of a deployment does: they share the store.
//
// A Client may be used by several goroutines, and starts none.
package opsclient
