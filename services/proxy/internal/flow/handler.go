package flow

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/limit"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

const (
	// maxHead is the limit of a ConnectRequest, which holds all request headers, unless another one is set.
	maxHead = 1 << 20
	// firstRead is the size of the buffer that the head is read into; larger heads grow it, and keepRead is the largest
	// one that waits in a pool.
	firstRead = 8 << 10
	keepRead  = 64 << 10
	// keepPairs is the largest number of metadata entries whose memory waits in a pool.
	keepPairs = 1 << 10
	// copySize is the size of the buffer that response bodies pass through.
	copySize = 32 << 10
	// spoolFlows times the spool limit is what all spooled bodies together may hold.
	spoolFlows = 16
)

// Handler serves flows. It implements link.Handler.
type Handler struct {
	limits  Limits
	table   *router.Table
	tags    []Tag
	log     *slog.Logger
	logs    Loggers
	metrics *metrics
	places  *limit.Requests
	spool   budget
	streams byteStreams

	management Management

	connector atomic.Pointer[connectorTag]
	states    sync.Pool // of *flowState
	copies    sync.Pool // of *[]byte, each copySize long
}

var _ link.Handler = (*Handler)(nil)

// New makes a handler that asks table for each request.
func New(cfg Config, table *router.Table, log *slog.Logger, reg prometheus.Registerer) *Handler {
	h := &Handler{
		limits:  cfg.Limits,
		table:   table,
		tags:    cfg.Tags,
		log:     log,
		logs:    cfg.Logs,
		metrics: newMetrics(reg),
		places:  limit.NewRequests(cfg.Limits.Flows, cfg.Limits.FlowsPerTunnel),
		spool:   budget{each: cfg.SpoolLimit, total: spoolFlows * cfg.SpoolLimit},
		streams: byteStreams{set: cfg.Streams, dialer: cfg.Dialer, flows: cfg.Flows, metrics: newStreamMetrics(reg)},
	}
	h.logs.HTTP, h.logs.TCP = cmp.Or(h.logs.HTTP, log), cmp.Or(h.logs.TCP, log)
	h.management = cfg.Management
	h.limits.HeadBytes = cmp.Or(h.limits.HeadBytes, maxHead)
	h.limits.Fields = cmp.Or(h.limits.Fields, httpfield.DefaultLimits())
	h.streams.copier.HalfCloseIdle, h.streams.copier.Count = cfg.Streams.HalfCloseIdle, h.streams.metrics.count
	return h
}

// InFlight is the number of running flows.
func (h *Handler) InFlight() int { return int(h.metrics.running.Load()) }

// flowState is the state of one flow. It is reused; nothing of it may be referred to after the flow ends.
type flowState struct {
	h     *Handler
	meta  link.Meta
	s     link.Stream
	buf   []byte // what was read of the stream so far: the head and perhaps the start of the body
	req   stream.Request
	resp  stream.Response
	out   []byte
	body  *body // nil when the request has none
	route *router.Route
	place limit.Place
	// reply changes the header of the response of the rule's service; nil for a rule without such actions.
	reply func(h http.Header)
	// maxBody bounds the body if it is not negative and bounded is set.
	maxBody int64
	bounded bool
	// tries and origin belong to a rule with several origins: the attempts, and the origin of the last one.
	tries  origin.Attempts
	origin *origin.Origin
	clock  *ruleClock // nil for a rule without timeouts of its own
	early  *interim   // nil when interim responses are not wanted
	began  time.Time
	log    *slog.Logger // for lines about what the flow carries
	ray    string       // the edge's id of the request, once a line had it
	// safe says that a second run of the request does no harm.
	safe bool
	// management says that the request is for the management host.
	management bool
	// responded says that a head has been handed to the stream, short that its body is shorter than declared because the
	// origin failed, and that the edge checks it.
	responded, short bool
}

// ServeStream serves one flow to its end.
func (h *Handler) ServeStream(ctx context.Context, m link.Meta, s link.Stream) {
	h.metrics.begin()
	defer h.metrics.end()
	x := h.take()
	x.meta, x.s = m, s
	defer h.put(x)
	defer x.contain(ctx)
	var err error
	if x.place, err = h.places.Acquire(m.Tunnel, x.began); err == nil {
		defer x.place.Release()
		err = x.serve(ctx)
	}
	if err != nil {
		x.fail(ctx, err)
	}
}

// take gives a state with empty buffers.
func (h *Handler) take() *flowState {
	if x, ok := h.states.Get().(*flowState); ok {
		x.began, x.log = time.Now(), h.log
		return x
	}
	return &flowState{h: h, buf: make([]byte, 0, firstRead), began: time.Now(), log: h.log}
}

// put returns a state to the pool without the memory of an unusual flow and without references to this one's strings.
func (h *Handler) put(x *flowState) {
	if cap(x.buf) > keepRead {
		x.buf = make([]byte, 0, firstRead)
	}
	if cap(x.out) > keepRead {
		x.out = nil
	}
	if cap(x.req.Metadata) > keepPairs {
		x.req.Metadata = nil
	}
	clear(x.req.Metadata)
	clear(x.resp.Metadata)
	*x = flowState{
		h: h, buf: x.buf[:0], out: x.out[:0],
		req:  stream.Request{Metadata: x.req.Metadata[:0]},
		resp: stream.Response{Metadata: x.resp.Metadata[:0]},
	}
	h.states.Put(x)
}

// contain ends the flow's reading side, and turns a panic into an abort of this flow alone.
func (x *flowState) contain(ctx context.Context) {
	if p := recover(); p != nil {
		x.s.Abort()
		x.h.metrics.count(failureInternal)
		if err, ok := p.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
			x.log.LogAttrs(ctx, slog.LevelError, "flow panicked", append(x.attrs(),
				slog.Any(logkey.Panic, p), slog.String(logkey.Stack, string(debug.Stack())))...)
		}
	}
	if x.body != nil {
		x.body.finish()
	}
}

// serve runs the flow. The caller reports the error to the edge and the log.
func (x *flowState) serve(ctx context.Context) error {
	rest, err := x.readHead()
	if err != nil {
		return err
	}
	switch x.req.Type {
	case stream.HTTP, stream.WebSocket:
		x.log = x.h.logs.HTTP
		return x.serveHTTP(ctx, rest)
	case stream.TCP:
		x.log = x.h.logs.TCP
		if x.meta.Repeat {
			return errRepeat
		}
		return x.serveTCP(ctx, rest)
	default:
		return stream.ErrUnknownType
	}
}

// readHead reads until the ConnectRequest is complete, and returns the bytes that follow it.
func (x *flowState) readHead() (rest []byte, err error) {
	var slow *time.Timer // runs when the head does not come in one piece
	for {
		n, rerr := x.s.Read(x.buf[len(x.buf):cap(x.buf)])
		x.buf = x.buf[:len(x.buf)+n]
		used, perr := stream.ParseRequestLimit(x.buf, &x.req, x.h.limits.HeadBytes)
		if slow != nil && (rerr != nil || perr == nil) && !slow.Stop() {
			return nil, errHeadSlow // the stream has been aborted
		}
		switch {
		case perr == nil:
			return x.buf[used:], nil
		case !errors.Is(perr, stream.ErrShort):
			return nil, perr
		case rerr == io.EOF: //nolint:errorlint // only the bare value is FIN; an error that wraps it is an abort
			return nil, errHeadCut
		case rerr != nil:
			return nil, &leftError{rerr}
		}
		if err := x.growHead(); err != nil {
			return nil, err
		}
		if slow == nil && x.h.limits.HeadTimeout > 0 {
			slow = time.AfterFunc(x.h.limits.HeadTimeout, x.s.Abort)
			defer slow.Stop()
		}
	}
}

// growHead makes room for more of the head.
func (x *flowState) growHead() error {
	if len(x.buf) < cap(x.buf) {
		return nil
	}
	if cap(x.buf) > 2*x.h.limits.HeadBytes {
		return stream.ErrTooLarge
	}
	x.buf = append(make([]byte, 0, 2*cap(x.buf)), x.buf...)
	return nil
}

// serveHTTP chooses the route and passes the request to its origin.
func (x *flowState) serveHTTP(ctx context.Context, rest []byte) error {
	p := parsed{maxTarget: x.h.limits.TargetBytes}
	if err := p.parse(&x.req, x.h.limits.Fields.BehindEdge()); err != nil {
		return err
	}
	snapshot := x.h.table.For(x.meta.Tunnel)
	if x.meta.Repeat {
		if x.safe = x.req.Type == stream.HTTP && p.isSafe(rest); !x.safe {
			return errRepeat
		}
	}
	x.choose(ctx, snapshot, &p)
	if x.route == nil {
		return x.serveManagement(ctx, &p, rest)
	}
	if err := x.place.EnterRule(&x.route.Running, snapshot); err != nil {
		return err
	}
	if x.route.Actions != nil || x.route.Rule.Closed != "" {
		return x.act(ctx, snapshot, &p, rest)
	}
	if err := x.admit(ctx, snapshot, &p); err != nil {
		return err
	}
	return x.pass(ctx, &p, rest)
}

// pass hands an admitted request to its origin.
func (x *flowState) pass(ctx context.Context, p *parsed, rest []byte) error {
	if x.req.Type == stream.WebSocket {
		return x.serveWebSocket(ctx, p, rest)
	}
	if p.upgrade != "" {
		return errUpgrade // to run it as an ordinary request would change its meaning
	}
	x.open(p, rest)
	o := x.route.Origin
	switch o.Kind {
	case origin.KindHTTP:
		return x.roundTrip(ctx, p, o)
	case origin.KindStatus:
		if o.Status == http.StatusSwitchingProtocols {
			return errSwitched
		}
		return x.answer(ctx, o.Status)
	case origin.KindHandler:
		return x.handle(ctx, p, o)
	case origin.KindStream:
		// A plain request on a service that is no HTTP (docs/spec/ingress.md D12).
		return x.respond(ctx, http.StatusUpgradeRequired, upgradeToWebSocket, "This service speaks websocket only.\n")
	}
	return errNoRoute
}

// admit is access control: it refuses what must not reach the route's origin.
func (x *flowState) admit(ctx context.Context, s *router.Snapshot, p *parsed) error {
	if q := x.question(s, p); s.Ambiguous(&q, x.route) {
		return errPathAmbiguous
	}
	if x.route.Guard != nil {
		return x.route.Guard.Check(ctx, p.header)
	}
	return nil
}

// choose finds the route. There is none for the management host.
func (x *flowState) choose(ctx context.Context, s *router.Snapshot, p *parsed) {
	q := x.question(s, p)
	x.route = s.Match(&q)
	x.management = x.route == nil
	if x.log.Enabled(ctx, slog.LevelDebug) {
		x.logRequest(ctx, p)
	}
}

// question is what the rule is chosen by.
func (x *flowState) question(s *router.Snapshot, p *parsed) ingress.Request {
	q := ingress.Request{Host: p.host, Path: p.path}
	if !s.Set.Conditional() {
		return q
	}
	q.Method, q.Query, q.Header, q.Protocol = p.method, p.query, p.header, ingress.ProtocolHTTP
	switch {
	case x.req.Type == stream.WebSocket:
		q.Protocol = ingress.ProtocolWebSocket
	case strings.HasPrefix(strings.ToLower(p.header.Get("Content-Type")), "application/grpc"):
		q.Protocol = ingress.ProtocolGRPC
	}
	q.Port = ingress.Port(p.host, strings.TrimSuffix(requestScheme(p), "://"))
	return q
}

// open makes the request's body, and the sender of interim responses.
func (x *flowState) open(p *parsed, rest []byte) {
	if p.takesInterim {
		x.early = newInterim(x.s, x.h.limits.Fields, x.h.metrics)
	}
	if p.length == 0 {
		return
	}
	x.body = &body{s: x.s, first: rest, left: p.length}
	if x.bounded {
		x.body.most, x.body.bounded = x.maxBody, true
	}
	if p.framed {
		x.body.frames = &frames{trailer: announced(p.trailers), limits: x.h.limits.Fields.BehindEdge()}
	}
	if p.expects && x.early != nil {
		x.body.wanted = x.early.proceed
	}
}

// attrs are the attributes of every line about this flow.
func (x *flowState) attrs() []slog.Attr {
	a := make([]slog.Attr, 0, 8)
	a = append(a, slog.String(logkey.TunnelID, x.meta.Tunnel.String()), slog.Int(logkey.ConnIndex, int(x.meta.Index)))
	if x.management {
		a = append(a, slog.Int(logkey.Rule, managementRule), slog.String(logkey.Origin, "management"))
	}
	if x.route != nil {
		o := x.route.Origin
		if x.origin != nil {
			o = x.origin
		}
		a = append(a, slog.Int(logkey.Rule, x.route.Index), slog.String(logkey.Origin, o.Text))
	}
	return a
}
