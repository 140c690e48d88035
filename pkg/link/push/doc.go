// Package push is the codec of a link flow that carries a configuration which the edge pushed (link.KindConfig): a request
// of version and JSON up to FIN, an answer of the version in force and an error text up to FIN.
//
// Pure: it reads nothing and keeps nothing of what it is given.
package push
