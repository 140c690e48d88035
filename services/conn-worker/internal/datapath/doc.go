// Package datapath composes the data path of a worker: package relay for streams, package udp for datagrams.
//
// It starts no goroutine itself.
package datapath
