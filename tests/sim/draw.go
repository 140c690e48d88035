package sim

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// span is how long a fault lasts: short ones are as likely as long ones.
func span(r *rand.Rand) Duration { return Duration(logBetween(r, shortest, longest)) }

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// commands lists the commands of the store that a cut may hit alone.
func commands() []string {
	return []string{
		"grant", "renew", "renew_worker", "notify", "release", "put", "fleet", "slots", "proved", "take_lead", "take_share",
		"publish_pool", "set", "connector",
		"hmget", "publish",
	}
}

func processes(s *Spec) []string {
	ids := workersAndSupervisors(s)
	for i := range s.Discoveries {
		ids = append(ids, s.Discoveries[i].ID)
	}
	return ids
}

func workersAndSupervisors(s *Spec) []string {
	ids := workers(s)
	for i := range s.Supervisors {
		ids = append(ids, s.Supervisors[i].ID)
	}
	return ids
}

func workers(s *Spec) []string {
	var ids []string
	for i := range s.Workers {
		ids = append(ids, s.Workers[i].ID)
	}
	return ids
}

func drawSpan(r *rand.Rand, _ *Spec) Fault { return Fault{For: span(r)} }

func drawMoment(*rand.Rand, *Spec) Fault { return Fault{} }

// drawCalls hits all processes or one, all commands or one kind, always or by chance.
func drawCalls(r *rand.Rand, s *Spec) Fault {
	f := Fault{For: span(r)}
	if r.IntN(2) == 0 {
		f.Target = pick(r, processes(s))
	}
	if r.IntN(2) == 0 {
		f.Op = pick(r, commands())
	}
	if r.IntN(2) == 0 {
		f.Chance = float64(1+r.IntN(9)) / 10
	}
	return f
}

func drawDelay(r *rand.Rand, s *Spec) Fault {
	f := drawCalls(r, s)
	f.By = Duration(logBetween(r, 50*time.Millisecond, 10*time.Second))
	return f
}

func drawTunnel(r *rand.Rand, s *Spec) Fault {
	return Fault{For: span(r), Target: fmt.Sprint("t", 1+r.IntN(len(s.Tunnels)))}
}

func drawTunnelRecord(r *rand.Rand, s *Spec) Fault {
	return Fault{Target: fmt.Sprint("t", 1+r.IntN(len(s.Tunnels)))}
}

func drawRestored(r *rand.Rand, _ *Spec) Fault {
	return Fault{By: Duration(logBetween(r, time.Second, 2*time.Minute))}
}

func drawFailover(r *rand.Rand, _ *Spec) Fault {
	f := Fault{N: r.IntN(mostLost)}
	switch r.IntN(4) {
	case 0:
		f.By = Duration(between(r, -largestStep, largestStep))
	case 1:
		f.By = Duration(between(r, -30*time.Second, 30*time.Second))
	}
	return f
}

func drawAnyProcess(r *rand.Rand, s *Spec) Fault {
	return Fault{For: span(r), Target: pick(r, processes(s))}
}

func drawWorkerOrSupervisor(r *rand.Rand, s *Spec) Fault {
	return Fault{For: span(r), Target: pick(r, workersAndSupervisors(s))}
}

func drawWorker(r *rand.Rand, s *Spec) Fault { return Fault{For: span(r), Target: pick(r, workers(s))} }

func drawRolling(r *rand.Rand, _ *Spec) Fault {
	return Fault{By: Duration(between(r, time.Second, 20*time.Second))}
}

// drawJoin adds a worker, on a host of its own or on one that others share.
func drawJoin(r *rand.Rand, s *Spec) Fault {
	host := "h9"
	if r.IntN(2) == 0 {
		host = pick(r, hosts(s))
	}
	return Fault{Target: host, N: 1 + r.IntN(9)}
}

func hosts(s *Spec) []string {
	var names []string
	for i := range s.Workers {
		if h := s.Workers[i].Host; len(names) == 0 || names[len(names)-1] < h {
			names = append(names, h)
		}
	}
	return names
}

// drawEdge hits one address, one edge, one region or everything.
func drawEdge(r *rand.Rand, s *Spec) Fault {
	f := Fault{For: span(r)}
	e := pick(r, s.Edges)
	switch r.IntN(5) {
	case 0:
		f.Target = pick(r, e.Addrs).String()
	case 1, 2:
		f.Target = e.Name
	case 3:
		f.Target = string(e.Region)
	}
	return f
}

func drawDrop(r *rand.Rand, s *Spec) Fault {
	f := drawEdge(r, s)
	f.For = 0
	return f
}

func drawPostpone(r *rand.Rand, s *Spec) Fault {
	f := drawEdge(r, s)
	f.By = Duration(between(r, time.Second, 30*time.Second))
	if r.IntN(3) == 0 {
		f.By = Duration(10 * time.Hour)
	}
	return f
}

func drawPool(r *rand.Rand, _ *Spec) Fault { return Fault{For: span(r), N: r.IntN(100)} }

func drawHost(r *rand.Rand, s *Spec) Fault { return Fault{For: span(r), Target: pick(r, hosts(s))} }

// drawRecord damages the record that N points to.
func drawRecord(r *rand.Rand, _ *Spec) Fault { return Fault{N: r.IntN(1000)} }

func drawWorkerRecord(r *rand.Rand, s *Spec) Fault {
	return Fault{Target: pick(r, workers(s)), N: r.IntN(1000)}
}
