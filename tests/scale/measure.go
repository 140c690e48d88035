package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/tests/proc"
)

// The bounds.
const (
	maxColdStart     = 120  // seconds until everything is served
	maxRegistrations = 50   // in any second
	maxPerSlot       = 0.05 // operations per second
	maxOperations    = 200  // per second
	maxCores         = 0.2  // of all supervisors together
	maxDarkFactor    = 3    // operations while the edges are dark, of those before
	maxBack          = 45   // seconds until everything is served again
)

const (
	// patience is how long everything may take to be served.
	patience = 15 * time.Minute
	// look is the time between two looks at the edges, and leadEvery between two at the leads.
	look      = 50 * time.Millisecond
	leadEvery = 5 * time.Second
	// darkFor is how long the edges are dark.
	darkFor = time.Minute
	// shown is how many commands are shown.
	shown = 8
)

var errNotServed = errors.New("not everything is served")

// sample is what was counted so far.
type sample struct {
	at                  time.Time
	planners, holders   map[string]int
	supervisors, server time.Duration
	calls, usec         float64
}

func (d *deployment) sample(ctx context.Context) (s sample, err error) {
	s.at = time.Now()
	if s.planners, err = d.planners.counted(); err != nil {
		return s, err
	}
	if s.holders, err = d.holders.counted(); err != nil {
		return s, err
	}
	if s.supervisors, err = proc.CPUTime(d.supervisors.Process.Pid); err != nil {
		return s, err
	}
	if s.server, err = proc.CPUTime(d.redis.Process.Pid); err != nil {
		return s, err
	}
	text, err := d.direct.Info(ctx, "commandstats").Result()
	if err != nil {
		return s, fmt.Errorf("figures of the store: %w", err)
	}
	_, text, _ = strings.Cut(text, "cmdstat_evalsha:")
	for _, field := range strings.Split(strings.SplitN(text, "\r", 2)[0], ",") {
		name, value, _ := strings.Cut(field, "=")
		n, _ := strconv.ParseFloat(value, 64) // before the first script there is none
		switch name {
		case "calls":
			s.calls = n
		case "usec":
			s.usec = n
		}
	}
	return s, nil
}

// since are the commands between two samples.
func since(before, after map[string]int) (counts map[string]int, all int) {
	counts = maps.Clone(after)
	for name, n := range before {
		counts[name] -= n
	}
	for _, n := range counts {
		all += n
	}
	return counts, all
}

// span is what happened between two samples.
type span struct {
	seconds                    float64
	planners, holders          int
	of                         map[string]int
	cores, server, scriptMilli float64
}

func between(a, b sample) span {
	s := span{seconds: b.at.Sub(a.at).Seconds()}
	var planners, holders map[string]int
	planners, s.planners = since(a.planners, b.planners)
	holders, s.holders = since(a.holders, b.holders)
	s.of = map[string]int{}
	for name, n := range planners {
		s.of["supervisors: "+name] += n
	}
	for name, n := range holders {
		s.of["workers: "+name] += n
	}
	s.cores = (b.supervisors - a.supervisors).Seconds() / s.seconds
	s.server = (b.server - a.server).Seconds() / s.seconds
	if calls := b.calls - a.calls; calls > 0 {
		s.scriptMilli = (b.usec - a.usec) / calls / 1e3
	}
	return s
}

// rate is the operations per second.
func (s span) rate() float64 { return float64(s.planners+s.holders) / s.seconds }

// commands are the figures of the most frequent commands.
func (s span) commands(part string) []figure {
	names := slices.SortedFunc(maps.Keys(s.of), func(a, b string) int { return cmp.Or(s.of[b]-s.of[a], cmp.Compare(a, b)) })
	var list []figure
	for _, name := range names[:min(len(names), shown)] {
		list = append(list, figure{part, name, "/s", float64(s.of[name]) / s.seconds, free})
	}
	return list
}

// waitFor waits until so many connections are served, and returns when that was.
func (d *deployment) waitFor(ctx context.Context, n int) (time.Time, error) {
	deadline := time.Now().Add(patience)
	for told := time.Now(); ; {
		have, now := d.edges.count(), time.Now()
		switch {
		case have >= n:
			return now, nil
		case now.After(deadline):
			return now, fmt.Errorf("%w after %v: %d of %d connections", errNotServed, patience, have, n)
		case now.Sub(told) >= 10*time.Second:
			told = now
			fmt.Fprintf(os.Stderr, "%d of %d connections\n", have, n)
		}
		if err := pause(ctx, look); err != nil {
			return now, err
		}
	}
}

// peak is the most of times within one second.
func peak(times []time.Time) int {
	sorted := slices.SortedFunc(slices.Values(times), time.Time.Compare)
	most, first := 0, 0
	for i, t := range sorted {
		for t.Sub(sorted[first]) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// slow returns the number of commands that took the server longer than slowScript, since the last call, and the longest, in ms.
func (d *deployment) slow(ctx context.Context) (count int, longest float64, name string, err error) {
	list, err := d.direct.SlowLogGet(ctx, -1).Result()
	if err == nil {
		err = d.direct.Do(ctx, "slowlog", "reset").Err()
	}
	if err != nil {
		return 0, 0, "", fmt.Errorf("slow commands of the store: %w", err)
	}
	for _, entry := range list {
		if strings.EqualFold(entry.Args[0], "slowlog") || strings.EqualFold(entry.Args[0], "info") {
			continue
		}
		count++
		if ms := entry.Duration.Seconds() * 1e3; ms > longest {
			longest, name = ms, strings.ToLower(entry.Args[0])
			if len(entry.Args) > 1 && d.planners.scripts[entry.Args[1]] != "" {
				name = d.planners.scripts[entry.Args[1]]
			}
		}
	}
	return count, longest, name, nil
}

// slowFigures are those of slow.
func (d *deployment) slowFigures(ctx context.Context, part string) ([]figure, error) {
	count, longest, name, err := d.slow(ctx)
	if err != nil {
		return nil, err
	}
	text := "longest script above 5 ms"
	if name != "" {
		text = "longest script (" + name + ")"
	}
	return []figure{
		{part, text, "ms", longest, free},
		{part, "commands of more than 5 ms", "", float64(count), free},
	}, nil
}

// terms are those of all leads.
func (d *deployment) terms(ctx context.Context) (map[string]string, error) {
	keys, err := d.direct.Keys(ctx, "cv:lead:*").Result()
	if err != nil {
		return nil, fmt.Errorf("leads: %w", err)
	}
	out := map[string]string{}
	for _, key := range keys {
		if out[key], err = d.direct.HGet(ctx, key, "term").Result(); err != nil {
			return nil, fmt.Errorf("leads: %w", err)
		}
	}
	return out, nil
}

// watch lets time pass, and counts how often a lead changed hands.
func (d *deployment) watch(ctx context.Context, length time.Duration) (changes int, err error) {
	last, err := d.terms(ctx)
	if err != nil {
		return 0, err
	}
	for end := time.Now().Add(length); ; {
		left := time.Until(end)
		if left <= 0 {
			return changes, nil
		}
		if err := pause(ctx, min(left, leadEvery)); err != nil {
			return 0, err
		}
		now, err := d.terms(ctx)
		if err != nil {
			return 0, err
		}
		for key, term := range now {
			if last[key] != term {
				changes++
			}
		}
		last = now
	}
}
