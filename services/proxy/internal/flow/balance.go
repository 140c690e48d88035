package flow

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
)

// lateBody is the body of a request that may be sent again while nothing of it was read: an attempt that ends before does not close it.
type lateBody struct {
	*body
	begun atomic.Bool
}

func (b *lateBody) Read(p []byte) (int, error) {
	b.begun.Store(true)
	return b.body.Read(p)
}

func (b *lateBody) Close() error {
	if !b.begun.Load() {
		return nil
	}
	return b.body.Close()
}

// begin starts the attempts of a request to a rule with several origins. The caller calls x.tries.End.
func (x *flowState) begin(p *parsed) {
	ask := origin.Ask{Header: p.header, Safe: p.isSafe(nil)}
	if a := x.client(p).Addr(); a.IsValid() {
		ask.Client = a.String()
	}
	x.tries = x.route.Origins.Begin(ask)
}

// any makes attempts until one succeeds or no other is due. try returns the status of a response, or an error; drop gives up a response
// that is not wanted, as there is another attempt.
func (x *flowState) any(ctx context.Context, try func(o *origin.Origin) (status int, err error), drop func()) error {
	err := error(errNoRoute)
	for {
		o, ok := x.tries.Next()
		if !ok {
			return err
		}
		x.origin = o
		status, terr := try(o)
		if !x.tries.Again(x.result(ctx, status, terr)) {
			return terr
		}
		if err = terr; err == nil {
			drop()
			err = &originError{fmt.Errorf("status %d", status)}
		}
	}
}

// result tells the failures of an origin from those of the visitor. A timeout of the rule is a failure of an origin that had the whole
// request.
func (x *flowState) result(ctx context.Context, status int, err error) origin.Result {
	r := origin.Result{Status: status, Err: err}
	if err == nil {
		return r
	}
	var op *net.OpError
	var oe *originError
	var se *serviceError
	hung := isRuleTime(context.Cause(ctx)) && (x.body == nil || x.body.complete())
	r.Last = ctx.Err() != nil
	r.Neutral = r.Last && !hung || !errors.As(err, &oe) && !errors.As(err, &se)
	r.Unsent = errors.As(err, &op) && op.Op == "dial" && (x.body == nil || x.body.untouched())
	return r
}

// roundTripAny is roundTrip for a rule with several origins.
func (x *flowState) roundTripAny(ctx context.Context, p *parsed) error {
	x.begin(p)
	defer x.tries.End()
	var held *spooled
	if x.route.Origin.NoChunked && p.length == unknownLength && x.body != nil {
		var err error
		if held, err = x.h.spool.read(x.body); err != nil {
			return err
		}
		defer held.release()
	}
	var res *http.Response
	drop := func() { _ = res.Body.Close() } // the response is not wanted
	err := x.any(ctx, func(o *origin.Origin) (int, error) {
		req, err := x.outgoing(ctx, p, o)
		if err != nil {
			return 0, err
		}
		switch {
		case held != nil:
			req.Body, req.ContentLength, req.Trailer = held.body(), held.size(), nil
		case x.body != nil:
			req.Body = &lateBody{body: x.body}
		}
		if res, err = o.RoundTrip(req); err != nil { //nolint:bodyclose // deliver or drop closes it
			return 0, x.exchangeFailure(err)
		}
		return res.StatusCode, nil
	}, drop)
	if err != nil {
		return err
	}
	return x.deliver(ctx, p, res)
}

// upgradeAny is upgrade for a rule with several origins.
func (x *flowState) upgradeAny(ctx context.Context, p *parsed, rest []byte) error {
	x.begin(p)
	defer x.tries.End()
	var h handshaken
	drop := func() { _ = h.res.Body.Close() } // the response is not wanted
	err := x.any(ctx, func(o *origin.Origin) (status int, err error) {
		if h, err = x.handshake(ctx, p, o); err != nil {
			return 0, err
		}
		return h.res.StatusCode, nil
	}, drop)
	if err != nil {
		return err
	}
	return x.switchOver(ctx, p, h, rest)
}

// dialAny connects to one of the services of a rule with several. The caller calls x.tries.End after the stream.
func (x *flowState) dialAny(ctx context.Context, p *parsed) (conn net.Conn, err error) {
	x.begin(p)
	err = x.any(ctx, func(o *origin.Origin) (int, error) {
		destination, err := o.Stream.Destination("")
		if err == nil {
			conn, err = x.dialService(ctx, o.Stream, destination)
		}
		if err != nil {
			return 0, &serviceError{err}
		}
		return 0, nil
	}, func() {})
	if err != nil {
		x.tries.End()
	}
	return conn, err
}
