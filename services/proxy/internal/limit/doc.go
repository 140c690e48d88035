// Package limit bounds what runs at a time: private-network flows of each tunnel, TCP streams and UDP sessions together
// (docs/spec/ingress.md 2.5 and 9), and the requests and streams of a proxy with a fair share for each tunnel. It starts nothing; all
// methods are safe for concurrent use.
package limit
