package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// connections is how many connections each tunnel has.
const connections = 4

// The values of -only and of -sessions.
const (
	onlyLarge = "large"
	onlyDark  = "dark"

	inMemory = "memory"
)

// options is the command line.
type options struct {
	large, small size
	roundTrip    time.Duration
	steady       time.Duration
	settle       time.Duration
	only         string
	sessions     string
	jsonPath     string
	profiles     string
	verbose      bool
}

// size is how many there are of each part.
type size struct{ tunnels, workers, supervisors int }

func (s size) slots() int { return s.tunnels * connections }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if len(os.Args) > 1 && os.Args[1] == roleSupervisors {
		err = runSupervisors(ctx, os.Args[2:])
	} else {
		err = run(ctx, os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		stop()
		os.Exit(1) // stop was called; nothing else is deferred
	}
}

func parse(args []string) (options, error) {
	o := options{small: size{tunnels: 100, workers: 10, supervisors: 2}}
	fs := flag.NewFlagSet("scale", flag.ContinueOnError)
	fs.IntVar(&o.large.tunnels, "tunnels", 1000, "tunnels of the large deployment, with 4 connections each")
	fs.IntVar(&o.large.workers, "workers", 100, "its workers, each with the credentials of all tunnels")
	fs.IntVar(&o.large.supervisors, "supervisors", 10, "its supervisors")
	fs.DurationVar(&o.roundTrip, "rtt", 5*time.Millisecond, "round trip to the store")
	fs.DurationVar(&o.steady, "steady", 2*time.Minute, "how long the steady state is measured")
	fs.DurationVar(&o.settle, "settle", time.Minute, "wait between the last connection and the measurement")
	fs.StringVar(&o.only, "only", "", "measure one deployment: large, or dark, the small one whose edges go dark")
	fs.StringVar(&o.sessions, "sessions", inMemory, "sessions to the edge: memory, quic or http2; the last two have no dark edges")
	fs.StringVar(&o.jsonPath, "json", "", "also write all figures to this file")
	fs.StringVar(&o.profiles, "profiles", "", "directory for processor profiles of each phase")
	fs.BoolVar(&o.verbose, "v", false, "show what supervisors and workers log from level warn on")
	if err := fs.Parse(args); err != nil {
		return o, fmt.Errorf("command line: %w", err)
	}
	switch {
	case o.only != "" && o.only != onlyLarge && o.only != onlyDark:
		return o, fmt.Errorf("-only %q is neither %s nor %s", o.only, onlyLarge, onlyDark)
	case o.sessions != inMemory && o.sessions != "quic" && o.sessions != "http2":
		return o, fmt.Errorf("-sessions %q is none of memory, quic, http2", o.sessions)
	case o.large.tunnels < 1 || o.large.workers < 1 || o.large.supervisors < 1:
		return o, errors.New("nothing to measure")
	case o.steady < time.Second:
		return o, errors.New("-steady is less than a second")
	}
	return o, nil
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	var figures []figure
	if o.only != onlyDark {
		list, err := measureLarge(ctx, o)
		figures = append(figures, list...)
		if err != nil {
			return errors.Join(err, report(os.Stdout, figures))
		}
	}
	if o.only != onlyLarge && o.sessions == inMemory {
		list, err := measureDark(ctx, o)
		figures = append(figures, list...)
		if err != nil {
			return errors.Join(err, report(os.Stdout, figures))
		}
	}
	if err := report(os.Stdout, figures); err != nil {
		return err
	}
	if o.jsonPath != "" {
		b, err := json.MarshalIndent(figures, "", "  ")
		if err != nil {
			return fmt.Errorf("figures: %w", err)
		}
		if err := os.WriteFile(o.jsonPath, append(b, '\n'), 0o600); err != nil {
			return fmt.Errorf("figures: %w", err)
		}
	}
	return judge(figures)
}
