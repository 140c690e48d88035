// Package proxy carries flows to the private services behind a tunnel: it matches each request against the ingress rules,
// hands it to the rule's origin, and streams the response back (docs/spec/ingress.md). It never knows which transport a request
// came through: its only input is the link.
//
// A Service is one proxy. With link endpoints configured it listens for workers, registers itself in the store so that
// workers find it, and drains before it stops; without any it is driven through Handler in the same process. The store is
// needed for being found, never for a request.
//
// New opens listeners and reads files; Run owns all goroutines and waits for them. All methods are safe for concurrent
// use.
package proxy
