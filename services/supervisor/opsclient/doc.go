// Package opsclient calls a supervisor: it reads and changes what operators desire, and sends commands. Its types are the JSON of the
// supervisor's API under /v1.
package opsclient
