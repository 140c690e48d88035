package supervisor

import (
	"context"
	"log/slog"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/control/pass"
	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/services/supervisor/internal/api"
)

// Ready returns why the supervisor cannot work, or nil. A supervisor on standby is ready.
func (s *Service) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Routes adds the supervisor's part of the ops API.
func (s *Service) Routes(g *echo.Group) { s.api.Routes(g) }

// Scope is what a route of the ops API needs.
func (s *Service) Scope(method, route string) (api.Scope, bool) {
	return s.api.Scope(method, route)
}

// Principal is whose token of the ops API it is.
func (s *Service) Principal(ctx context.Context, token string) (api.Principal, bool, error) {
	return s.api.Principal(ctx, token)
}

// Guarded reports whether there are tokens of the ops API.
func (s *Service) Guarded(ctx context.Context) bool { return s.api.Guarded(ctx) }

// view is what this supervisor itself knows.
func (s *Service) view() api.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	owners := s.shares.Owners // an array: this is a copy
	return api.View{
		Leading: s.lead, Fresh: s.lead && s.state == nil, Connectors: s.seen.All(), Member: s.member, Owners: owners[:],
		Current: s.state == nil,
	}
}

func (s *Service) leading() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lead
}

// note keeps, counts and logs a fact. It reports whether a is one.
func (s *Service) note(ctx context.Context, a pass.Action) bool {
	s.api.Tell(a)
	switch a := a.(type) {
	case pass.Observed:
		s.mu.Lock()
		s.seen = a.World
		s.mu.Unlock()
	case pass.CommandAnswered:
		s.log.InfoContext(ctx, "command of an operator was answered", slog.String(logkey.CommandID, a.Command),
			slog.String(logkey.Outcome, string(a.Outcome)), slog.String(logkey.Details, a.Detail))
	case pass.StoreUp:
		s.setState(nil)
		s.metrics.up.Set(1)
		if a.Again && !a.Quiet {
			s.log.InfoContext(ctx, "control plane is available again")
		}
	case pass.StoreDown:
		s.setState(a.Problem)
		s.metrics.up.Set(0)
		if !a.Quiet {
			s.log.WarnContext(ctx, "control plane is unavailable, nothing is granted", slog.Any(logkey.Err, a.Err))
		}
	case pass.Trouble:
		s.metrics.troubles.WithLabelValues(string(a.Kind)).Inc()
		if a.First {
			s.log.WarnContext(ctx, "part of the control plane failed, the rest goes on",
				slog.String(logkey.Kind, string(a.Kind)), slog.String(logkey.Name, a.Subject), slog.Any(logkey.Err, a.Err))
		}
	case pass.Short:
		s.log.WarnContext(ctx, "fewer connections than desired: the edge has too few addresses",
			slog.String(logkey.TunnelID, a.Tunnel.String()), slog.Int(logkey.Desired, a.Desired),
			slog.Int(logkey.Possible, a.Possible), slog.Int(logkey.Addresses, a.Addresses))
	case pass.SlotGranted:
		s.granted(ctx, a)
	case pass.SlotReleased:
		s.released(ctx, a)
	case pass.PlanOutdated:
		s.metrics.conflicts.Inc()
		s.log.DebugContext(ctx, "plan outdated", slog.Any(logkey.Err, a.Err))
	case pass.LeadNotResigned:
		s.log.DebugContext(ctx, "lead not resigned, it runs out by itself", slog.Any(logkey.Err, a.Err))
	default:
		return s.noteLead(ctx, a)
	}
	return true
}

// noteLead is note for what is about the lead and the shards.
func (s *Service) noteLead(ctx context.Context, a pass.Action) bool {
	switch a := a.(type) {
	case pass.LeadChanged:
		s.setLead(ctx, a.Leading)
	case pass.SharesChanged:
		s.setShares(ctx, a)
	default:
		return false
	}
	return true
}

func (s *Service) setLead(ctx context.Context, lead bool) {
	s.mu.Lock()
	s.lead = lead
	s.mu.Unlock()
	value := 0.0
	if lead {
		value = 1
	}
	s.metrics.leading.Set(value)
	s.log.InfoContext(ctx, "lead changed", slog.Bool(logkey.Leading, lead))
}

func (s *Service) setShares(ctx context.Context, c pass.SharesChanged) {
	s.mu.Lock()
	s.shares = c
	s.mu.Unlock()
	s.metrics.shards.Set(float64(c.Own))
	s.log.InfoContext(ctx, "shards were divided among the supervisors", slog.Int(logkey.Shards, c.Own),
		slog.Int(logkey.Supervisors, c.Members))
}

func (s *Service) setState(problem error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = problem
}

func (s *Service) granted(ctx context.Context, g pass.SlotGranted) {
	s.metrics.grants.WithLabelValues(string(g.Cause)).Inc()
	s.log.InfoContext(ctx, "slot granted",
		slog.String(logkey.TunnelID, g.Slot.Tunnel.String()), slog.Int(logkey.ConnIndex, int(g.Slot.Index)),
		slog.String(logkey.WorkerID, string(g.Worker)), slog.Uint64(logkey.Epoch, uint64(g.Granted.Epoch)),
		slog.String(logkey.EdgeAddr, g.Edge.String()), slog.String(logkey.Cause, string(g.Cause)),
		slog.Duration(logkey.Wait, g.Granted.Wait))
	if g.Cause == plan.CauseGone && g.Past.Deaths > 0 && g.Wait > 0 {
		s.metrics.heldOff.Inc()
		s.log.WarnContext(ctx, "slot brings its workers down, it is held off",
			slog.String(logkey.TunnelID, g.Slot.Tunnel.String()), slog.Int(logkey.ConnIndex, int(g.Slot.Index)),
			slog.Int(logkey.Deaths, g.Past.Deaths), slog.Duration(logkey.Wait, g.Granted.Wait))
	}
}

func (s *Service) released(ctx context.Context, r pass.SlotReleased) {
	s.metrics.grants.WithLabelValues(string(r.Cause)).Inc()
	s.log.InfoContext(ctx, "slot released",
		slog.String(logkey.TunnelID, r.Slot.Tunnel.String()), slog.Int(logkey.ConnIndex, int(r.Slot.Index)),
		slog.String(logkey.WorkerID, string(r.Worker)), slog.String(logkey.Cause, string(r.Cause)))
}
