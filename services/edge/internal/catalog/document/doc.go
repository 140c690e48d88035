// Package document is the content of the tunnel file and the rules for changing it: tunnels with their secrets and
// configurations, routes of hosts, and public ports.
//
// It is pure: ids, secrets and times are arguments, and a change that is refused leaves the document as it was. Package catalog
// locks, writes and shares it.
package document
