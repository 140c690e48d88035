// Package link carries flows from a worker to a proxy. A flow is the edge stream's own bytes (docs/spec/wire.md 5.3 first),
// so the proxy has one kind of input whatever the transport.
//
// Three carriers pass one contract (linktest): Direct calls the proxy's handler in the same process; the pooled
// carrier of exclusive mode runs one stream at a time over a Unix or TCP (mutual TLS) connection, with the frames of
// docs/spec/datapath.md 3; Balancer spreads flows over several proxies.
//
// A direction of a flow ends by FIN or by RESET and by nothing else: a proxy or worker that dies is an error for its
// streams, never a truncated response that looks complete.
package link
