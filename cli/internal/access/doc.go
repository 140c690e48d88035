// Package access is the client side of TCP services behind a host name: culvert access tcp, ssh, rdp and smb, which carry a byte stream
// in a websocket to an edge, from standard input or from a listener (docs/spec/lifecycle.md 11.5).
//
// ssh_config files name it as ProxyCommand, so nothing but the stream is written to standard output.
package access
