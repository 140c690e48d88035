package flow

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/duplex"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/policy"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/socks"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/websock"
)

// destinationHeader is the header in which the client of a bastion names its destination.
const destinationHeader = "Cf-Access-Jump-Destination"

// serviceError is a stream service that cannot be reached.
type serviceError struct{ err error }

func (e *serviceError) Error() string { return e.err.Error() }
func (e *serviceError) Unwrap() error { return e.err }

// errSocksRefused ends a stream after the SOCKS reply that says why.
var errSocksRefused = errors.New("socks request refused")

// serveService is a websocket server in front of a service that is no HTTP: it connects first, then accepts
// (docs/spec/ingress.md 8.3 to 8.5).
func (x *flowState) serveService(ctx context.Context, p *parsed, o *origin.Origin, rest []byte) error {
	st := o.Stream
	destination, err := st.Destination(p.header.Get(destinationHeader))
	if err != nil {
		return badRequest(err.Error())
	}
	var conn net.Conn
	if x.route.Origins != nil {
		if conn, err = x.dialAny(ctx, p); err != nil {
			return err
		}
		defer x.tries.End()
	} else if st.Kind != ingress.KindSocks {
		if conn, err = x.dialService(ctx, st, destination); err != nil {
			return &serviceError{err}
		}
	}
	if err := x.acceptWebSocket(ctx, p); err != nil {
		discard(conn)
		return err
	}
	ws := websock.NewServer(x.s, x.edge(rest), x.h.streams.set.PingInterval)
	err = x.runService(ctx, p, st, ws, conn)
	if err != nil {
		x.s.Abort() // a ping that the edge does not read would block the end
	}
	ws.Finish()
	return err
}

// runService carries an accepted websocket. It owns conn.
func (x *flowState) runService(ctx context.Context, p *parsed, st *origin.Stream, ws *websock.Server, conn net.Conn) error {
	edge := &duplex.Head{End: ws}
	if st.Socks || st.Kind == ingress.KindSocks {
		var err error
		if conn, edge.First, err = x.socks(ctx, st, ws, conn); err != nil {
			discard(conn)
			if errors.Is(err, errSocksRefused) {
				return orLeft(ws.CloseWrite())
			}
			return err
		}
	}
	if err := origin.Announce(conn, st.ProxyProtocol, x.client(p)); err != nil {
		discard(conn)
		return &serviceError{err}
	}
	x.pump(ctx, streamService, edge, x.originEnd(conn))
	return nil
}

func orLeft(err error) error {
	if err != nil {
		return &leftError{err}
	}
	return nil
}

func discard(c net.Conn) {
	if c != nil {
		_ = c.Close() // the connection has carried nothing
	}
}

func (x *flowState) dialService(ctx context.Context, st *origin.Stream, destination string) (net.Conn, error) {
	began := time.Now()
	conn, err := st.Dial(ctx, destination)
	x.h.streams.metrics.connected(began, err)
	return conn, err
}

// socks serves a SOCKS5 client: over the connection that exists already (proxyType), else over one to its destination. It
// returns the connection, and the bytes that the client sent after its request. With errSocksRefused the client has received
// the reason in a SOCKS reply.
func (x *flowState) socks(ctx context.Context, st *origin.Stream, ws *websock.Server, fixed net.Conn) (net.Conn, []byte, error) {
	within := ctx
	if d := x.h.streams.set.SocksTimeout; d > 0 {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	stop := abortWith(within, x.s)
	req, early, err := socks.Accept(ws)
	if stop() {
		return fixed, nil, &leftError{context.Cause(within)}
	}
	switch {
	case errors.Is(err, socks.ErrVersion), errors.Is(err, socks.ErrMethod), errors.Is(err, socks.ErrCommand), errors.Is(err, socks.ErrAddress):
		x.h.metrics.count(failureRequest)
		return fixed, nil, errSocksRefused
	case err != nil:
		return fixed, nil, &leftError{err}
	}
	conn := fixed
	if conn == nil {
		if conn, err = x.dialService(ctx, st, req.To.String()); err != nil {
			f := failureOf(ctx, &serviceError{err})
			x.h.metrics.count(f.kind)
			x.report(ctx, f, err)
			if err := socks.Respond(ws, socksReply(err), req.To); err != nil {
				return nil, nil, &leftError{err}
			}
			return nil, nil, errSocksRefused
		}
	}
	var local netip.AddrPort
	if a, ok := conn.LocalAddr().(*net.TCPAddr); ok {
		local = a.AddrPort()
	}
	if err := socks.Respond(ws, socks.Succeeded, socks.AddressOf(local)); err != nil {
		return conn, nil, &leftError{err}
	}
	return conn, early, nil
}

// socksReply names a failure to connect (docs/spec/ingress.md 10).
func socksReply(err error) socks.Reply {
	var dns *net.DNSError
	switch {
	case errors.Is(err, ingress.ErrDenied), errors.Is(err, policy.ErrDenied), errors.As(err, &dns):
		return socks.NotAllowed
	case errors.Is(err, syscall.ECONNREFUSED):
		return socks.Refused
	case errors.Is(err, syscall.ENETUNREACH):
		return socks.NetworkUnreachable
	}
	return socks.HostUnreachable
}

// serviceFailure classifies the failure of a stream service, or of the connection to it.
func serviceFailure(err error) failure {
	if errors.Is(err, ingress.ErrDenied) {
		return failure{failureDenied, http.StatusForbidden, ingress.ErrDenied.Error()}
	}
	return originFailure(err)
}

// privateFailure is serviceFailure for a destination that the edge named itself.
func privateFailure(e *privateError) failure {
	f := serviceFailure(e.err)
	dst := e.dst.String()
	f.text = "unable to dial tcp to origin " + dst + ": " + strings.Replace(f.text, "dial tcp:", "dial tcp "+dst+":", 1)
	return f
}
