package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// options is the command line.
type options struct {
	rounds   int
	measure  time.Duration
	variants []string
	peer     string
	jsonPath string
	binDir   string
	bulkMiB  int
	inFlight []int
	verbose  bool
	// only names the one thing to measure, see parse; "" is everything but the cost of a log stream.
	only     string
	protocol tunnel.Protocol
}

// The values of -only.
const (
	onlyStart = "start"
	onlyTail  = "tail"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "origin" {
		if err := runOrigin(); err != nil {
			fmt.Fprintln(os.Stderr, "bench origin:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1) // stop was called; nothing else is deferred
	}
}

func parse(args []string) (options, error) {
	o := options{inFlight: []int{1, 32, 256}}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	var variants, protocol string
	fs.StringVar(&protocol, "protocol", string(tunnel.QUIC), "transport towards the edge: quic or http2")
	fs.IntVar(&o.rounds, "rounds", 3, "how often every variant is measured")
	fs.DurationVar(&o.measure, "measure", 4*time.Second, "how long each small-request case runs")
	fs.StringVar(&variants, "variants", "one,unix,tls,peer", "what to measure: one process, split over unix or tls links, peer")
	fs.StringVar(&o.peer, "peer", os.Getenv("PEER"), "another connector that takes the same flags; without it the variant peer is left out")
	fs.StringVar(&o.jsonPath, "json", "", "also write all figures to this file")
	fs.StringVar(&o.binDir, "bin", "bin", "directory of the built binaries")
	fs.IntVar(&o.bulkMiB, "bulk", 256, "MiB per bulk transfer")
	fs.StringVar(&o.only, "only", "", "measure one thing: start (time to the connections) or tail (cost of an open log stream)")
	fs.BoolVar(&o.verbose, "v", false, "show what the connectors log")
	if err := fs.Parse(args); err != nil {
		return o, fmt.Errorf("command line: %w", err)
	}
	var err error
	if o.protocol, err = tunnel.ParseProtocol(protocol); err != nil {
		return o, err
	}
	for v := range strings.SplitSeq(variants, ",") {
		switch v {
		case "one", "unix", "tls":
			o.variants = append(o.variants, v)
		case "peer":
			if o.peer != "" {
				o.variants = append(o.variants, v)
			}
		default:
			return o, fmt.Errorf("variant %q is none of one, unix, tls, peer", v)
		}
	}
	if o.only != "" && o.only != onlyStart && o.only != onlyTail {
		return o, fmt.Errorf("-only %q is neither %s nor %s", o.only, onlyStart, onlyTail)
	}
	if o.rounds < 1 || len(o.variants) == 0 {
		return o, errors.New("nothing to measure")
	}
	return o, nil
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	origin, err := startOrigin(ctx)
	if err != nil {
		return err
	}
	defer origin.stop()

	var results []result
	for round := range o.rounds {
		for _, v := range o.variants {
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, o.rounds, v)
			rs, err := measureVariant(ctx, o, v, origin.addr)
			if err != nil {
				return fmt.Errorf("variant %s, round %d: %w", v, round+1, err)
			}
			for i := range rs {
				rs[i].Round = round
			}
			results = append(results, rs...)
		}
	}
	report(os.Stdout, results, o.variants)
	if o.jsonPath == "" {
		return nil
	}
	return writeJSON(o.jsonPath, results)
}
