package api

import (
	"cmp"
	"slices"

	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// slotsOf shows the records of a tunnel. A slot lives under the lease of its worker's process if it names one.
func (w *world) slotsOf(t table) []opsapi.Slot {
	out := []opsapi.Slot{}
	for i := range t.records {
		r := &t.records[i]
		s := opsapi.Slot{
			Tunnel: r.Slot.Tunnel, Connector: r.Slot.Connector, Index: r.Slot.Index, Epoch: r.Epoch, Worker: r.Worker,
			Live: r.Live, State: r.Status.State, Location: r.Status.Location, Protocol: cmp.Or(r.Status.Protocol, r.Protocol),
			Retries: r.Status.Retries, Reason: r.Status.Reason, Error: r.Status.Error, Deaths: r.Status.Deaths,
		}
		if r.Instance != "" {
			s.Live = w.lives[r.Worker] == r.Instance
		}
		if in := r.InUse(); !in.IsZero() && r.Worker != "" {
			s.Edge, s.Region = in.String(), in.Region
		}
		out = append(out, s)
	}
	return out
}

// tunnelOf shows a tunnel with its slots.
func (w *world) tunnelOf(d plan.Desired, t table) opsapi.TunnelState {
	out := opsapi.TunnelState{Items: w.slotsOf(t), Tunnel: opsapi.Tunnel{
		ID: d.Tunnel, Desired: d.Connections, Protocol: string(d.Protocol), Pool: d.Pool, Version: d.Document.Version,
		Workers: []tunnel.WorkerID{},
	}}
	if !t.connector.IsZero() {
		out.Connector = t.connector.String()
	}
	for i := range w.workers {
		if slices.ContainsFunc(w.workers[i].Tunnels, func(ref fleet.TunnelRef) bool { return ref.ID == d.Tunnel }) {
			out.Workers = append(out.Workers, w.workers[i].ID)
		}
	}
	for _, s := range out.Items {
		if s.Worker == "" || !s.Live {
			continue
		}
		out.Slots++
		if s.State == lease.StateConnected {
			out.Connected++
			if out.Edges == nil {
				out.Edges = map[tunnel.Region]int{}
			}
			out.Edges[s.Region]++
		}
	}
	out.Health = health(d.Document.Paused, len(out.Workers), out.Desired, out.Connected)
	return out
}

func health(paused bool, workers, desired, connected int) opsapi.Health {
	switch {
	case paused:
		return opsapi.Paused
	case workers == 0 && connected == 0:
		return opsapi.Idle
	case connected == 0 && desired > 0:
		return opsapi.Down
	case connected < desired:
		return opsapi.Degraded
	}
	return opsapi.Up
}

// connectorOf shows the connector of a tunnel.
func connectorOf(t opsapi.TunnelState, id tunnel.ConnectorID) opsapi.Connector {
	out := opsapi.Connector{
		ID: id, Tunnel: t.ID, Health: t.Health, Desired: t.Desired, Connected: t.Connected, Workers: []tunnel.WorkerID{},
	}
	for _, s := range t.Items {
		if s.Worker != "" && !slices.Contains(out.Workers, s.Worker) {
			out.Workers = append(out.Workers, s.Worker)
		}
	}
	slices.Sort(out.Workers)
	return out
}

func workerOf(w *fleet.Worker, drained bool) opsapi.Worker {
	out := opsapi.Worker{
		ID: w.ID, Host: w.Host, Version: w.Version, PID: w.PID, Started: w.Started, Capacity: w.Capacity, Tunnels: []tunnel.ID{},
		Draining: w.Draining, Drained: drained,
	}
	for _, ref := range w.Tunnels {
		out.Tunnels = append(out.Tunnels, ref.ID)
	}
	return out
}

func proxyOf(p fleet.Proxy) opsapi.Proxy {
	return opsapi.Proxy{ID: p.ID, Host: p.Host, Version: p.Version, Endpoint: p.Endpoint, Draining: p.Draining}
}

func poolOf(name string, p edgepool.Pool) opsapi.Pool {
	out := opsapi.Pool{Name: name, Version: p.Version, Source: string(p.Source), Fetched: p.FetchedAt, Regions: []opsapi.Region{}}
	for _, r := range p.Regions {
		shown := opsapi.Region{Name: r.Name, Addresses: []string{}}
		for _, address := range slices.Concat(r.V4, r.V6) {
			shown.Addresses = append(shown.Addresses, address.String())
		}
		out.Regions = append(out.Regions, shown)
	}
	return out
}

// viewsOf shows connectors as the planner knows them.
func viewsOf(all []plan.Connector) []opsapi.ConnectorView {
	slices.SortFunc(all, func(a, b plan.Connector) int { return slices.Compare(a.Tunnel[:], b.Tunnel[:]) })
	out := make([]opsapi.ConnectorView, len(all))
	for i, v := range all {
		out[i] = opsapi.ConnectorView{
			Tunnel: v.Tunnel, Connector: v.ID, Connections: v.Connections, Paused: v.Document.Paused,
			Version: v.Document.Version, Slots: v.Records,
		}
	}
	return out
}
