// Command bench measures what a connector costs: requests and megabytes per CPU-second of all its processes together,
// latency, resident memory, and the time from start to the first connection.
//
// It plays the edge (QUIC, the wire of docs/spec/wire.md) and the origin itself, in processes of their own whose cost is not
// counted, and runs each connector as a user would: by its command line. All variants run interleaved, round by round,
// so that a busy machine hurts them alike; figures are medians over the rounds, ratios are medians of the rounds' ratios.
//
// With -only it measures one thing: start, the time to the first and to all connections, or tail, what a request costs while a log
// stream is open, in turn with none.
//
//	bench [-only start|tail] [-rounds 3] [-measure 4s] [-variants one,unix,tls,peer] [-protocol quic|http2] [-peer PATH] [-json FILE]
package main
