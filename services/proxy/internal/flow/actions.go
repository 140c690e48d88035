package flow

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

// act serves a request of a rule with actions (docs/actions.md).
func (x *flowState) act(ctx context.Context, s *router.Snapshot, p *parsed, rest []byte) error {
	a := x.route.Actions
	if x.route.Rule.Closed != "" {
		return &requestError{failureDenied, http.StatusServiceUnavailable, "the rule is malformed: " + x.route.Rule.Closed}
	}
	length := p.length
	if x.req.Type == stream.WebSocket {
		length = 0 // what follows is a stream
	}
	visitor, leave, no := a.Admit(ctx, p.header, x.client(p).Addr(), length)
	if no != nil {
		return x.turnAway(ctx, &requestError{kindOf(no.Status, no.Checks), no.Status, no.Reason}, no.Header)
	}
	defer leave()
	if err := x.admit(ctx, s, p); err != nil {
		return err
	}
	v := &ingress.Variables{
		Method: p.method, Scheme: strings.TrimSuffix(requestScheme(p), "://"), Host: p.host, Path: p.raw, Query: p.query,
		RequestID: p.header.Get("Cf-Ray"),
	}
	if visitor.IsValid() {
		v.Client = visitor.String()
	}
	if a.File != "" {
		return x.sendFile(ctx, p)
	}
	if status, header, text, ok := a.Responds(v); ok {
		return x.respond(ctx, status, pairs(header), text)
	}
	a.Prepare(p.header, v)
	_, p.hasAgent = p.header["User-Agent"]
	p.raw, p.path = a.Path(p.raw, p.path)
	if len(a.Response) > 0 {
		x.reply = func(h http.Header) { ingress.Apply(h, a.Response, v) }
	}
	x.maxBody, x.bounded = a.MaxBody, a.MaxBody >= 0
	if a.Timeout == 0 && a.Idle == 0 {
		return x.pass(ctx, p, rest)
	}
	return x.passInTime(ctx, p, rest)
}

// passInTime is pass for a rule with timeouts.
func (x *flowState) passInTime(ctx context.Context, p *parsed, rest []byte) error {
	clock, within := startClock(ctx, x.s, x.route.Actions.Timeout, x.route.Actions.Idle)
	x.clock, x.s = clock, clock
	err := x.pass(within, p, rest)
	if cause := clock.stop(); err != nil && cause != nil && ctx.Err() == nil {
		return cause
	}
	return err
}

// sendFile responds with a file. The error does not name it, as the edge reads it.
func (x *flowState) sendFile(ctx context.Context, p *parsed) error {
	page := x.route.Actions.Page()
	if err := page.Open(); err != nil {
		return &requestError{failureInternal, http.StatusInternalServerError, "the file of the rule's respond cannot be read"}
	}
	defer page.Close()
	req := &http.Request{Method: p.method, URL: &url.URL{Path: p.path}, Header: p.header}
	return x.handleWith(ctx, page, req.WithContext(ctx))
}

// turnAway sends the refusal of an action, with a header, and reports it.
func (x *flowState) turnAway(ctx context.Context, no *requestError, header [][2]string) error {
	f := failureOf(ctx, no)
	x.h.metrics.count(f.kind)
	x.report(ctx, f, no)
	return x.respond(ctx, no.status, pairs(header), "")
}

// kindOf tells refusals by limits from those of access control. checks says that too many passwords wait for their check.
func kindOf(status int, checks bool) failureKind {
	if checks {
		return failureChecks
	}
	switch status {
	case http.StatusTooManyRequests:
		return failureRate
	case http.StatusServiceUnavailable:
		return failureBusy
	case http.StatusRequestEntityTooLarge:
		return failureTooLarge
	}
	return failureDenied
}

func pairs(header [][2]string) []stream.Pair {
	out := make([]stream.Pair, len(header))
	for i, h := range header {
		out[i] = stream.Pair{Key: stream.HeaderKey(h[0]), Val: h[1]}
	}
	return out
}
