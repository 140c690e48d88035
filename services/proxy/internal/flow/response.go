package flow

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
)

// upgradeToWebSocket goes with status 426.
var upgradeToWebSocket = []stream.Pair{ //nolint:gochecknoglobals // a constant
	{Key: stream.HeaderPrefix + "Upgrade", Val: "websocket"},
	{Key: stream.HeaderPrefix + "Content-Type", Val: "text/plain; charset=utf-8"},
}

// roundTrip sends the request to an HTTP origin and forwards its response.
func (x *flowState) roundTrip(ctx context.Context, p *parsed, o *origin.Origin) error {
	if x.route.Origins != nil {
		return x.roundTripAny(ctx, p)
	}
	req, err := x.outgoing(ctx, p, o)
	if err != nil {
		return err
	}
	if o.NoChunked && req.ContentLength == unknownLength {
		spooled, err := x.h.spool.read(x.body)
		if err != nil {
			return err
		}
		defer spooled.release()
		req.Body, req.ContentLength, req.Trailer = spooled.body(), spooled.size(), nil
	}
	res, err := o.RoundTrip(req) //nolint:bodyclose // deliver closes it
	if err != nil {
		return x.exchangeFailure(err)
	}
	return x.deliver(ctx, p, res)
}

// exchangeFailure is why there is no response: the edge's side of the body, or the origin.
func (x *flowState) exchangeFailure(err error) error {
	if x.body != nil {
		if cause := x.body.failure(); cause != nil {
			return &leftError{cause}
		}
	}
	return &originError{err}
}

// deliver forwards an origin's response and closes its body.
func (x *flowState) deliver(ctx context.Context, p *parsed, res *http.Response) error {
	defer func() { _ = res.Body.Close() }() // ends an exchange that was not read to its end; nothing else can fail
	x.h.metrics.firstByte.Observe(time.Since(x.began).Seconds())
	if res.StatusCode == http.StatusSwitchingProtocols {
		return errSwitched // the request did not ask for an upgrade
	}
	return x.forward(ctx, p, res)
}

// forward sends an origin's response. The caller closes its body.
func (x *flowState) forward(ctx context.Context, p *parsed, res *http.Response) error {
	if p.takesFrames {
		if err := settleBody(p.method, res); err != nil {
			return err
		}
	}
	if err := x.setHead(ctx, res.StatusCode, res.Header); err != nil {
		return err
	}
	if p.takesFrames {
		x.announceBody(res)
	}
	if err := x.bufferHead(); err != nil {
		return err
	}
	switch {
	case res.Body == http.NoBody:
		return x.closeResponse()
	case p.takesFrames && framesResponse(res):
		return x.copyFramed(res)
	}
	return x.copyBody(res.Body, p.takesFrames && res.ContentLength > 0)
}

// setHead makes the ConnectResponse of a response: the status first, then one entry per header value. A header beyond the
// limits is an error.
func (x *flowState) setHead(ctx context.Context, status int, header http.Header) error {
	if x.reply != nil {
		x.reply(header)
	}
	meter := x.h.limits.Fields.Meter()
	connection := header["Connection"]
	md := append(x.resp.Metadata[:0], stream.Pair{Key: stream.KeyStatus, Val: statusText(status)})
	for name, values := range header {
		for _, v := range values {
			if err := meter.Add(len(name), len(v)); err != nil {
				return &originError{err}
			}
		}
		if len(values) == 0 || !keepsInResponse(name) || httpfield.IsNamed(connection, name) {
			continue
		}
		key := stream.HeaderKey(name)
		for _, v := range values {
			md = append(md, stream.Pair{Key: key, Val: v})
		}
	}
	x.h.metrics.answered(status)
	x.resp.Error, x.resp.Metadata = "", md
	if x.log.Enabled(ctx, slog.LevelDebug) {
		x.logResponse(ctx, status, header.Get("Content-Length"))
	}
	return nil
}

// startHead begins a ConnectResponse with the status alone.
func (x *flowState) startHead(ctx context.Context, status int) {
	if x.log.Enabled(ctx, slog.LevelDebug) {
		x.logResponse(ctx, status, "")
	}
	x.resp.Error = ""
	x.resp.Metadata = append(x.resp.Metadata[:0], stream.Pair{Key: stream.KeyStatus, Val: statusText(status)})
}

func statusText(status int) string {
	if status == http.StatusOK {
		return "200"
	}
	return strconv.Itoa(status)
}

// bufferHead encodes the ConnectResponse of the final response and lets it travel with what comes next.
func (x *flowState) bufferHead() error {
	x.early.end()
	out, err := x.resp.Append(x.out[:0])
	if err != nil {
		return &originError{err}
	}
	x.out, x.responded = out, true
	if err := x.s.Buffer(out); err != nil {
		return &leftError{err}
	}
	return nil
}

// closeResponse ends a complete response.
func (x *flowState) closeResponse() error {
	if err := x.s.CloseWrite(); err != nil {
		return &leftError{err}
	}
	return nil
}

// copyBody streams the body of a response: each read goes out at once, and the last one together with FIN. checked says that
// the edge compares the body with a declared length.
func (x *flowState) copyBody(from io.Reader, checked bool) error {
	buf := x.h.takeCopy()
	defer x.h.copies.Put(buf)
	for {
		n, err := from.Read(*buf)
		if n > 0 {
			send := x.s.Write
			if err == io.EOF {
				send = x.bufferAll
			}
			if _, werr := send((*buf)[:n]); werr != nil {
				return &leftError{werr}
			}
		}
		if err == io.EOF {
			return x.closeResponse()
		}
		if err != nil {
			x.short = checked
			return &originError{err}
		}
	}
}

func (x *flowState) bufferAll(p []byte) (int, error) { return len(p), x.s.Buffer(p) }

func (h *Handler) takeCopy() *[]byte {
	if b, ok := h.copies.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, copySize)
	return &b
}

// answer sends the response of a rule whose service is a status.
func (x *flowState) answer(ctx context.Context, status int) error {
	x.h.metrics.answered(status)
	return x.send(ctx, status, nil, "")
}

// respond sends a response that the proxy itself makes.
func (x *flowState) respond(ctx context.Context, status int, headers []stream.Pair, text string) error {
	x.h.metrics.responded(status)
	return x.send(ctx, status, headers, text)
}

func (x *flowState) send(ctx context.Context, status int, headers []stream.Pair, text string) error {
	x.startHead(ctx, status)
	x.resp.Metadata = append(x.resp.Metadata, headers...)
	if text != "" {
		x.resp.Metadata = append(x.resp.Metadata,
			stream.Pair{Key: stream.HeaderPrefix + "Content-Length", Val: strconv.Itoa(len(text))})
	}
	if err := x.bufferHead(); err != nil {
		return err
	}
	if text != "" && !x.isHead() {
		if err := x.s.Buffer([]byte(text)); err != nil {
			return &leftError{err}
		}
	}
	if err := x.s.CloseWrite(); err != nil {
		return &leftError{err}
	}
	return nil
}

// isHead reports whether the request's method is HEAD.
func (x *flowState) isHead() bool {
	head := false
	for _, p := range x.req.Metadata {
		if p.Key == stream.KeyMethod {
			head = p.Val == http.MethodHead
		}
	}
	return head
}
