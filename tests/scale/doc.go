// Command scale measures what the control plane costs where there is much of it: real supervisors and real conn-workers with a real Redis
// between them, each with a store client of its own, and a relay that counts every command and makes a round trip last.
//
// The supervisors are in a process of their own, whose processor time is a figure. The workers are in the process that measures, with
// the credentials of all tunnels, and a lab edge that accepts every registration. Its sessions are in memory, so that the figures are
// those of the control plane alone; with -sessions quic or http2 they are real ones over the loopback interface.
//
// It measures the cold start and the steady state of a large deployment, then a smaller one all of whose edges go dark for a minute, and
// prints each figure beside its bound. A figure beyond its bound ends the program with exit code 1.
//
//	scale [-only large|dark] [-tunnels 1000] [-workers 100] [-supervisors 10] [-rtt 5ms] [-steady 2m] [-sessions memory|quic|http2]
package main
