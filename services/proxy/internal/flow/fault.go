package flow

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

const (
	unreachable = "Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared: "
	abrupt      = "Incoming request ended abruptly: "
)

// faultKind is why a flow failed: a bounded set, used as a metric label and to thin out logs.
type faultKind string

// Every kind there is.
const (
	faultCancelled faultKind = "cancelled"  // the edge no longer wants the answer
	faultRequest   faultKind = "request"    // the request is malformed or not complete
	faultDenied    faultKind = "denied"     // access control
	faultTooLarge  faultKind = "too_large"  // a body beyond the spool limit
	faultLimited   faultKind = "flow_limit" // too many private-network flows
	faultFull      faultKind = "full"       // too many flows of all kinds
	faultDial      faultKind = "dial"       // no connection to the origin
	faultTLS       faultKind = "tls"        // no trust in the origin
	faultTimeout   faultKind = "timeout"    // the origin is too slow
	faultProtocol  faultKind = "protocol"   // the origin's answer is malformed or ended early
	faultInternal  faultKind = "internal"   // a defect
)

// requestError is a request that cannot be served as it is. Its text goes to the edge.
type requestError struct {
	kind   faultKind
	status int
	text   string
}

func (e *requestError) Error() string { return e.text }

func badRequest(text string) error {
	return &requestError{kind: faultRequest, status: http.StatusBadRequest, text: text}
}

// leftError is the loss of the edge's side of the flow.
type leftError struct{ err error }

func (e *leftError) Error() string { return abrupt + e.err.Error() }
func (e *leftError) Unwrap() error { return e.err }

// originError is a failure of the exchange with the origin.
type originError struct{ err error }

func (e *originError) Error() string { return unreachable + e.err.Error() }
func (e *originError) Unwrap() error { return e.err }

// Failures that need no data. Those with a status are answered with it.
var (
	errHeadSlow     = &requestError{faultRequest, 0, "connect request did not come in time"}
	errTooManyFlows = &requestError{faultFull, http.StatusServiceUnavailable, "too many requests at a time"}
	errFields       = &requestError{faultRequest, http.StatusRequestHeaderFieldsTooLarge, "request header fields exceed a limit"}
	errRepeat       = &requestError{faultRequest, 0, "request cannot be repeated safely"}
	errHeadCut      = &requestError{faultRequest, http.StatusBadRequest, "connect request ended early"}
	errNoRoute      = &requestError{faultInternal, http.StatusBadGateway, "the rule's service cannot serve the request"}
	errPathDodge    = &requestError{faultDenied, http.StatusBadRequest, "path is ambiguous to access control"}
	errDenied       = &requestError{faultDenied, http.StatusForbidden, "access token required"}
	errSpoolLimit   = &requestError{faultTooLarge, http.StatusRequestEntityTooLarge, "request body too large for an origin without chunked encoding"}
	errSpoolFull    = &requestError{faultTooLarge, http.StatusServiceUnavailable, "too many request bodies held at a time"}
	errNoBody       = errors.New("body where there is none")
	errTrailer      = errors.New("malformed trailer")
	errSwitched     = &originError{errors.New("unexpected status 101")}
)

// fault is a failure as the edge and the log are told.
type fault struct {
	kind   faultKind
	status int
	text   string // for the edge: no address of ours in it (docs/spec/ingress.md D20)
}

// faultOf sorts a failure.
func faultOf(ctx context.Context, err error) fault {
	var re *requestError
	var le *leftError
	var oe *originError
	var se *serviceError
	var pe *privateError
	var fe *limitedError
	switch {
	case ctx.Err() != nil:
		return fault{kind: faultCancelled}
	case errors.As(err, &re):
		return fault{re.kind, re.status, re.text}
	case errors.As(err, &le):
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fault{faultRequest, http.StatusBadRequest, abrupt + "body shorter than declared"}
		}
		return fault{kind: faultCancelled}
	case errors.As(err, &oe):
		f := originFault(oe.err)
		f.text = unreachable + f.text
		return f
	case errors.As(err, &se):
		return serviceFault(se.err)
	case errors.As(err, &pe):
		return privateFault(pe)
	case errors.As(err, &fe):
		return fault{faultLimited, http.StatusServiceUnavailable, fe.Error()}
	case errors.Is(err, stream.ErrUnknownType):
		return fault{faultRequest, http.StatusBadRequest, stream.ErrUnknownType.Error()}
	case errors.Is(err, stream.ErrTooLarge):
		return fault{faultRequest, http.StatusRequestHeaderFieldsTooLarge, "connect request too large"}
	case errors.Is(err, stream.ErrMalformed), errors.Is(err, stream.ErrUnknownSignature):
		return fault{faultRequest, http.StatusBadRequest, "connect request malformed"}
	}
	return fault{faultInternal, http.StatusBadGateway, "internal error"}
}

// originFault names what is wrong with an origin in words that hold no address.
func originFault(err error) fault {
	var (
		timeout net.Error
		dns     *net.DNSError
		op      *net.OpError
		record  tls.RecordHeaderError
		verify  *tls.CertificateVerificationError
		alert   tls.AlertError
	)
	bad := func(kind faultKind, text string) fault { return fault{kind, http.StatusBadGateway, text} }
	switch {
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return fault{faultTimeout, http.StatusGatewayTimeout, "timeout"}
	case errors.Is(err, httpfield.ErrLimit):
		return bad(faultProtocol, "response header fields exceed a limit")
	case errors.As(err, &dns):
		return bad(faultDial, "dial tcp: lookup: no such host")
	case errors.As(err, &verify):
		return bad(faultTLS, "tls: failed to verify certificate")
	case errors.As(err, &record), errors.As(err, &alert):
		return bad(faultTLS, "tls: handshake failed")
	case errors.As(err, &op) && op.Op == "dial":
		return bad(faultDial, "dial "+op.Net+": "+dialCause(err))
	case errors.Is(err, syscall.ECONNRESET):
		return bad(faultProtocol, "read: connection reset by peer")
	case errors.Is(err, syscall.EPIPE):
		return bad(faultProtocol, "write: broken pipe")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return bad(faultProtocol, "unexpected EOF")
	case errors.Is(err, io.EOF):
		return bad(faultProtocol, "EOF")
	case strings.HasPrefix(err.Error(), "tls: "):
		return bad(faultTLS, "tls: handshake failed")
	}
	return bad(faultProtocol, "malformed HTTP response")
}

// dialCause is the system's word for why a dial failed.
func dialCause(err error) string {
	for _, c := range []struct {
		errno syscall.Errno
		text  string
	}{
		{syscall.ECONNREFUSED, "connect: connection refused"},
		{syscall.ENOENT, "connect: no such file or directory"},
		{syscall.EACCES, "connect: permission denied"},
		{syscall.EHOSTUNREACH, "connect: no route to host"},
		{syscall.ENETUNREACH, "connect: network is unreachable"},
	} {
		if errors.Is(err, c.errno) {
			return c.text
		}
	}
	return "connect failed"
}

// fail ends the flow after a failure that nobody has been told of: an error answer while there is no head yet, an abort
// otherwise. A repeat is aborted until it is known to be safe: our edge reads from a 503 that nobody has seen the request, and
// would send it again.
func (x *exchange) fail(ctx context.Context, err error) {
	f := faultOf(ctx, err)
	x.h.metrics.count(f.kind)
	if x.answered || f.status == 0 || x.meta.Repeat && !x.safe || x.refuse(f) != nil {
		x.s.Abort()
	}
	x.report(ctx, f, err)
}

// refuse tells the edge that the request failed, and how. A refusal that is a proper answer (denied, too large) is sent as
// one; the rest is the wire's error with the status that fits.
func (x *exchange) refuse(f fault) error {
	private := x.req.Type == stream.TCP // is told by words alone
	switch f.kind {
	case faultDenied, faultTooLarge:
		if !private {
			return x.answer(f.status, nil, "")
		}
	default:
	}
	x.h.metrics.answered(f.status)
	x.resp.Error, x.resp.Metadata = f.text, x.resp.Metadata[:0]
	switch {
	case f.kind == faultLimited:
		x.resp.Metadata = append(x.resp.Metadata, stream.Pair{Key: stream.KeyFlowLimited, Val: "true"})
	case !private:
		x.resp.Metadata = append(x.resp.Metadata, stream.Pair{Key: stream.KeyStatus, Val: strconv.Itoa(f.status)})
	}
	if err := x.bufferHead(); err != nil {
		return err
	}
	return x.s.CloseWrite()
}

// report writes the one line about a failure. Cancellations are nothing to an operator; repeated faults of one rule and
// kind are thinned out (docs/spec/ingress.md D21).
func (x *exchange) report(ctx context.Context, f fault, err error) {
	level := slog.LevelWarn
	switch f.kind {
	case faultCancelled:
		level = slog.LevelDebug
	case faultDial, faultTLS, faultTimeout, faultProtocol, faultInternal:
		level = slog.LevelError
	case faultRequest, faultDenied, faultTooLarge, faultLimited, faultFull:
	}
	if !x.h.log.Enabled(ctx, level) {
		return
	}
	attrs := append(x.attrs(), slog.String(logkey.Reason, string(f.kind)), slog.Any(logkey.Err, err))
	if f.kind != faultCancelled {
		gate := &x.h.faults
		if x.route != nil {
			gate = &x.route.Faults
		}
		ok, suppressed := gate.Pass(string(f.kind), time.Now())
		if !ok {
			return
		}
		if suppressed > 0 {
			attrs = append(attrs, slog.Int(logkey.Suppressed, suppressed))
		}
	}
	x.h.log.LogAttrs(ctx, level, "request failed", attrs...)
}
