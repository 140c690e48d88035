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
	"github.com/culvert-tunnel/culvert/services/proxy/internal/limit"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/policy"
)

const (
	unreachable = "Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared: "
	abrupt      = "Incoming request ended abruptly: "
)

// failureKind is why a flow failed: a bounded set, used as a metric label and to thin out logs.
type failureKind string

// Every kind there is.
const (
	failureCancelled failureKind = "cancelled"      // the edge no longer wants the response
	failureRequest   failureKind = "request"        // the request is malformed or not complete
	failureDenied    failureKind = "denied"         // access control
	failureKeys      failureKind = "no_keys"        // access control has no keys to check a token with
	failurePolicy    failureKind = "policy"         // the local policy does not allow the destination
	failureTooLarge  failureKind = "too_large"      // a body beyond the spool limit
	failureRate      failureKind = "rule_rate"      // too many requests per second for the limits of the rule
	failureBusy      failureKind = "rule_in_flight" // too many requests in progress for the limits of the rule
	failureChecks    failureKind = "rule_passwords" // too many passwords of the rule wait for their check
	failureLimited   failureKind = "flow_limit"     // too many private-network flows
	failureFull      failureKind = "full"           // too many flows of all kinds
	failureShare     failureKind = "tunnel_full"    // too many flows of one tunnel
	failureRule      failureKind = "rule_full"      // too many flows of one rule
	failureDial      failureKind = "dial"           // no connection to the origin
	failureTLS       failureKind = "tls"            // no trust in the origin
	failureTimeout   failureKind = "timeout"        // the origin is too slow
	failureProtocol  failureKind = "protocol"       // the origin's response is malformed or ended early
	failureInternal  failureKind = "internal"       // a defect
)

// requestError is a request that cannot be served as it is. Its text goes to the edge.
type requestError struct {
	kind   failureKind
	status int
	text   string
}

func (e *requestError) Error() string { return e.text }

func badRequest(text string) error {
	return &requestError{kind: failureRequest, status: http.StatusBadRequest, text: text}
}

// leftError is the loss of the edge's side of the flow.
type leftError struct{ err error }

func (e *leftError) Error() string { return abrupt + e.err.Error() }
func (e *leftError) Unwrap() error { return e.err }

// originError is a failure of the exchange with the origin.
type originError struct{ err error }

func (e *originError) Error() string { return unreachable + e.err.Error() }
func (e *originError) Unwrap() error { return e.err }

// Failures that need no data. A status other than 0 becomes the status of the response.
var (
	errHeadSlow      = &requestError{failureRequest, 0, "connect request did not come in time"}
	errFields        = &requestError{failureRequest, http.StatusRequestHeaderFieldsTooLarge, "request header fields exceed a limit"}
	errRepeat        = &requestError{failureRequest, 0, "request cannot be repeated safely"}
	errTarget        = &requestError{failureRequest, http.StatusRequestURITooLong, "request target exceeds a limit"}
	errHeadCut       = &requestError{failureRequest, http.StatusBadRequest, "connect request ended early"}
	errUpgrade       = &requestError{failureRequest, http.StatusNotImplemented, "the rule's service has no protocol to switch to"}
	errNoRoute       = &requestError{failureInternal, http.StatusBadGateway, "the rule's service cannot serve the request"}
	errPathAmbiguous = &requestError{failureDenied, http.StatusBadRequest, "path is ambiguous to access control"}
	errSpoolLimit    = &requestError{
		failureTooLarge, http.StatusRequestEntityTooLarge, "request body too large for an origin without chunked encoding",
	}
	errBodyLimit = &requestError{failureTooLarge, http.StatusRequestEntityTooLarge, "request body exceeds maxBody"}
	errRuleTime  = &requestError{failureTimeout, http.StatusGatewayTimeout, "the rule's timeout is over"}
	errRuleIdle  = &requestError{failureTimeout, http.StatusGatewayTimeout, "the exchange was idle for the rule's idleTimeout"}
	errSpoolFull = &requestError{failureTooLarge, http.StatusServiceUnavailable, "too many request bodies held at a time"}
	errNoBody    = errors.New("body where there is none")
	errTrailer   = errors.New("malformed trailer")
	errSwitched  = &originError{errors.New("unexpected status 101")}
)

// failure is what the edge and the log get to know about a failed flow.
type failure struct {
	kind   failureKind
	status int
	text   string // for the edge: no address of ours in it (docs/spec/ingress.md D20)
}

// failureOf classifies an error.
func failureOf(ctx context.Context, err error) failure {
	var re *requestError
	var le *leftError
	var oe *originError
	var se *serviceError
	var pe *privateError
	var fe *limitedError
	var rf refusal
	switch {
	case ctx.Err() != nil:
		return failure{kind: failureCancelled}
	case errors.As(err, &re):
		return failure{re.kind, re.status, re.text}
	case errors.As(err, &rf):
		return refused(rf)
	case errors.As(err, &le):
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return failure{failureRequest, http.StatusBadRequest, abrupt + "body shorter than declared"}
		}
		return failure{kind: failureCancelled}
	case errors.As(err, &oe):
		f := originFailure(oe.err)
		f.text = unreachable + f.text
		return f
	case errors.As(err, &se):
		return serviceFailure(se.err)
	case errors.As(err, &pe):
		return privateFailure(pe)
	case errors.As(err, &fe):
		return failure{failureLimited, http.StatusServiceUnavailable, fe.Error()}
	case errors.Is(err, limit.ErrFull):
		return failure{failureFull, http.StatusServiceUnavailable, limit.ErrFull.Error()}
	case errors.Is(err, limit.ErrTunnelFull):
		return failure{failureShare, http.StatusServiceUnavailable, limit.ErrTunnelFull.Error()}
	case errors.Is(err, limit.ErrRuleFull):
		return failure{failureRule, http.StatusServiceUnavailable, limit.ErrRuleFull.Error()}
	case errors.Is(err, stream.ErrUnknownType):
		return failure{failureRequest, http.StatusBadRequest, stream.ErrUnknownType.Error()}
	case errors.Is(err, stream.ErrTooLarge):
		return failure{failureRequest, http.StatusRequestHeaderFieldsTooLarge, "connect request too large"}
	case errors.Is(err, stream.ErrMalformed), errors.Is(err, stream.ErrUnknownSignature):
		return failure{failureRequest, http.StatusBadRequest, "connect request malformed"}
	}
	return failure{failureInternal, http.StatusBadGateway, "internal error"}
}

// refusal is an error of access control.
type refusal interface {
	error
	// Status is 403 or 503.
	Status() int
}

// refused classifies a refusal. Its own text is for the log alone.
func refused(r refusal) failure {
	if r.Status() == http.StatusServiceUnavailable {
		return failure{failureKeys, http.StatusServiceUnavailable, "access tokens cannot be checked now"}
	}
	return failure{failureDenied, r.Status(), "access denied"}
}

// originFailure classifies an error of the exchange with an origin. Its text contains no address.
func originFailure(err error) failure {
	var (
		timeout net.Error
		dns     *net.DNSError
		op      *net.OpError
		record  tls.RecordHeaderError
		verify  *tls.CertificateVerificationError
		alert   tls.AlertError
	)
	bad := func(kind failureKind, text string) failure { return failure{kind, http.StatusBadGateway, text} }
	switch {
	case errors.Is(err, policy.ErrDenied):
		return failure{failurePolicy, http.StatusForbidden, policy.ErrDenied.Error()}
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return failure{failureTimeout, http.StatusGatewayTimeout, "timeout"}
	case errors.Is(err, httpfield.ErrLimit):
		return bad(failureProtocol, "response header fields exceed a limit")
	case errors.As(err, &dns):
		return bad(failureDial, "dial tcp: lookup: no such host")
	case errors.As(err, &verify):
		return bad(failureTLS, "tls: failed to verify certificate")
	case errors.As(err, &record), errors.As(err, &alert):
		return bad(failureTLS, "tls: handshake failed")
	case errors.As(err, &op) && op.Op == "dial":
		return bad(failureDial, "dial "+op.Net+": "+dialCause(err))
	case errors.Is(err, syscall.ECONNRESET):
		return bad(failureProtocol, "read: connection reset by peer")
	case errors.Is(err, syscall.EPIPE):
		return bad(failureProtocol, "write: broken pipe")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return bad(failureProtocol, "unexpected EOF")
	case errors.Is(err, io.EOF):
		return bad(failureProtocol, "EOF")
	case strings.HasPrefix(err.Error(), "tls: "):
		return bad(failureTLS, "tls: handshake failed")
	}
	return bad(failureProtocol, "malformed HTTP response")
}

// dialCause is the text of the system error that made a dial fail.
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

// fail reports a failure and ends the flow: with an error response while no head has been sent, with an abort otherwise. A
// repeat is aborted until it is known to be safe: our edge reads from a 503 that no proxy has seen the request, and would
// send it again.
func (x *flowState) fail(ctx context.Context, err error) {
	f := failureOf(ctx, err)
	x.h.metrics.count(f.kind)
	switch {
	case x.short && f.kind != failureCancelled && x.s.CloseWrite() == nil:
		// A reset could overtake what the origin sent, and the edge would then blame the connector for the missing head. FIN
		// arrives behind it, and the edge sees by the length that the body is incomplete (docs/extensions.md).
	case x.responded || f.status == 0 || x.meta.Repeat && !x.safe || x.refuse(ctx, f) != nil:
		x.s.Abort()
	}
	x.report(ctx, f, err)
}

// refuse sends the edge an error response. A refusal by a rule or a limit (denied, too large) is an ordinary response with
// that status; every other failure is the wire's error with the status that fits.
func (x *flowState) refuse(ctx context.Context, f failure) error {
	private := x.req.Type == stream.TCP // its error response has no status
	switch f.kind {
	case failureDenied, failureTooLarge, failureRate, failureBusy, failureChecks:
		if !private {
			return x.respond(ctx, f.status, nil, "")
		}
	default:
	}
	x.h.metrics.responded(f.status)
	x.resp.Error, x.resp.Metadata = f.text, x.resp.Metadata[:0]
	switch {
	case f.kind == failureLimited:
		x.resp.Metadata = append(x.resp.Metadata, stream.Pair{Key: stream.KeyFlowLimited, Val: "true"})
	case !private:
		x.resp.Metadata = append(x.resp.Metadata, stream.Pair{Key: stream.KeyStatus, Val: strconv.Itoa(f.status)})
	}
	if !private && (f.kind == failureFull || f.kind == failureShare || f.kind == failureRule) {
		x.resp.Metadata = append(x.resp.Metadata, stream.Pair{Key: stream.HeaderPrefix + "Retry-After", Val: "1"})
	}
	if err := x.bufferHead(); err != nil {
		return err
	}
	return x.s.CloseWrite()
}

// report writes the one line about a failure. Cancellations are logged at debug level; repeated faults of one kind and rule
// are logged once in a while (docs/spec/ingress.md D21).
func (x *flowState) report(ctx context.Context, f failure, err error) {
	level := slog.LevelWarn
	switch f.kind {
	case failureCancelled:
		level = slog.LevelDebug
	case failureDial, failureTLS, failureTimeout, failureProtocol, failureInternal, failureKeys:
		level = slog.LevelError
	case failureRequest, failureDenied, failurePolicy, failureTooLarge, failureLimited, failureFull, failureShare, failureRule, failureRate,
		failureBusy, failureChecks:
	}
	if !x.log.Enabled(ctx, level) {
		return
	}
	attrs := append(x.attrs(), slog.String(logkey.Reason, string(f.kind)), slog.Any(logkey.Err, err),
		slog.String(logkey.Type, typeName(x.req.Type)), slog.String(logkey.Dest, x.req.Dest))
	if id := x.metadata(keyFlowID); id != "" {
		attrs = append(attrs, slog.String(logkey.FlowID, id))
	}
	if f.kind != failureCancelled {
		gate := &x.h.table.Faults
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
	x.log.LogAttrs(ctx, level, "request failed", attrs...)
}
