// Package policy decides what a proxy may reach, whatever its rules say: networks, host names, Unix sockets, and files. The policy
// is local, and no configuration that an edge pushes can change it (docs/hardening.md).
//
// It is pure: it opens nothing and resolves nothing. Package dialer asks it at each dial, package opener for each file. A Policy
// never changes and is safe for concurrent use.
package policy
