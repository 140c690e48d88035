// Package setup has the commands that prepare a deployment of several processes: certificates of the link, and users of the store.
//
// They write files, which must not exist yet or are kept, and open no socket.
package setup
