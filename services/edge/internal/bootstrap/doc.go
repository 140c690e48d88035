// Package bootstrap creates the tunnel and the routes that an operator wants to exist at every start, and writes the files that
// the first connector needs: the tunnel's token and the certificate of the edge's own CA.
//
// It runs once, before the edge serves, and starts no goroutine.
package bootstrap
