package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/culvert-tunnel/culvert/tests/proc"
)

// measureLarge measures the cold start and the steady state of the large deployment. What was measured before an error is returned with it.
func measureLarge(ctx context.Context, o options) (list []figure, err error) {
	d, err := deploy(ctx, o, o.large, onlyLarge)
	if err != nil {
		return nil, err
	}
	defer d.stop()
	fmt.Fprintf(os.Stderr, "cold start: %d tunnels, %d workers, %d supervisors\n", o.large.tunnels, o.large.workers, o.large.supervisors)
	began := time.Now()
	if err := d.startAll(ctx); err != nil {
		return nil, err
	}
	before, err := d.sample(ctx)
	if err != nil {
		return nil, err
	}
	served, err := d.waitFor(ctx, o.large.slots())
	if ctx.Err() != nil {
		return nil, err
	}
	const cold, steady = "cold start", "steady"
	registered := d.edges.registrations()
	after, failed := d.sample(ctx)
	if failed != nil {
		return nil, failed
	}
	s := between(before, after)
	list = append(list,
		figure{cold, "until everything is served", "s", served.Sub(began).Seconds(), maxColdStart},
		figure{cold, "most registrations in a second", "", float64(peak(registered)), maxRegistrations},
		figure{cold, "registrations for each connection", "", float64(len(registered)) / float64(o.large.slots()), free},
		figure{cold, "operations", "/s", s.rate(), free},
		figure{cold, "supervisors together", "cores", s.cores, free},
		figure{cold, "store", "cores", s.server, free},
	)
	list = append(list, s.commands(cold)...)
	slow, failed := d.slowFigures(ctx, cold)
	if list = append(list, slow...); failed != nil || err != nil {
		return list, errors.Join(err, failed)
	}

	fmt.Fprintf(os.Stderr, "served after %v; steady for %v in %v\n", served.Sub(began).Round(time.Second), o.steady, o.settle)
	if err := pause(ctx, o.settle); err != nil {
		return list, err
	}
	s, more, err := d.steadily(ctx, steady, o.steady)
	if list = append(list, more...); err != nil {
		return list, err
	}
	rss, err := proc.ResidentBytes(d.supervisors.Process.Pid)
	if err != nil {
		return list, err
	}
	list = append(list,
		figure{steady, "operations", "/s", s.rate(), maxOperations},
		figure{steady, "operations for each slot", "/s", s.rate() / float64(o.large.slots()), maxPerSlot},
		figure{steady, "supervisors together", "cores", s.cores, maxCores},
		figure{steady, "memory of the supervisors together", "MiB", float64(rss) / (1 << 20), free},
	)
	return append(list, s.commands(steady)...), d.problem()
}

// steadily measures a deployment where nothing happens.
func (d *deployment) steadily(ctx context.Context, part string, length time.Duration) (s span, list []figure, err error) {
	d.nextPhase()
	d.edges.registrations()
	before, err := d.sample(ctx)
	if err != nil {
		return s, nil, err
	}
	changes, err := d.watch(ctx, length)
	if err != nil {
		return s, nil, err
	}
	after, err := d.sample(ctx)
	if err != nil {
		return s, nil, err
	}
	d.nextPhase()
	s = between(before, after)
	if list, err = d.slowFigures(ctx, part); err != nil {
		return s, nil, err
	}
	return s, append(list,
		figure{part, fmt.Sprintf("changes of a lead in %v", length), "", float64(changes), 0},
		figure{part, "registrations", "", float64(len(d.edges.registrations())), 0},
		figure{part, "store", "cores", s.server, free},
		figure{part, "script on average", "ms", s.scriptMilli, free},
	), nil
}

// measureDark measures the small deployment while all its edges are dark, and until all is served again.
func measureDark(ctx context.Context, o options) (list []figure, err error) {
	d, err := deploy(ctx, o, o.small, onlyDark)
	if err != nil {
		return nil, err
	}
	defer d.stop()
	fmt.Fprintf(os.Stderr, "dark edges: %d tunnels, %d workers, %d supervisors\n", o.small.tunnels, o.small.workers, o.small.supervisors)
	if err := d.startAll(ctx); err != nil {
		return nil, err
	}
	if _, err := d.waitFor(ctx, o.small.slots()); err != nil {
		return nil, err
	}
	if err := pause(ctx, o.settle); err != nil {
		return nil, err
	}
	const part = "dark edges"
	steady, list, err := d.steadily(ctx, part, o.steady)
	if err != nil {
		return list, err
	}
	fmt.Fprintf(os.Stderr, "%.1f operations a second; dark for %v\n", steady.rate(), darkFor)
	before, err := d.sample(ctx)
	if err != nil {
		return list, err
	}
	began := time.Now()
	d.edges.setDark(ctx, true)
	if err := pause(ctx, time.Until(began.Add(darkFor))); err != nil {
		return list, err
	}
	after, err := d.sample(ctx)
	if err != nil {
		return list, err
	}
	lit := time.Now()
	d.edges.setDark(ctx, false)
	served, err := d.waitFor(ctx, o.small.slots())
	if err != nil {
		return list, err
	}
	back, err := d.sample(ctx)
	if err != nil {
		return list, err
	}
	dark, later := between(before, after), between(after, back)
	list = append(list,
		figure{part, "operations before", "/s", steady.rate(), free},
		figure{part, "operations while dark", "/s", dark.rate(), maxDarkFactor * steady.rate()},
		figure{part, "until everything is served again", "s", served.Sub(lit).Seconds(), maxBack},
		figure{part, "operations until then", "/s", later.rate(), free},
		figure{part, "most registrations in a second", "", float64(peak(d.edges.registrations())), maxRegistrations},
	)
	list = append(list, dark.commands(part)...)
	slow, err := d.slowFigures(ctx, part+", later")
	return append(list, slow...), errors.Join(err, d.problem())
}
