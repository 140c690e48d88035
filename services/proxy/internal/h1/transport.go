package h1

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/h1/h1codec"
)

const defaultMaxHead = 256 << 10

// Config says how origins are reached.
type Config struct {
	// DialContext opens a connection; its limits are the caller's.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// Proxy gives the proxy for a request, as in http.Transport; such a request goes to the fallback. nil is no proxy.
	Proxy func(*http.Request) (*url.URL, error)
	// MaxIdle is how many idle connections are kept; 0 is no limit.
	MaxIdle int
	// MaxIdlePerHost is how many of them may belong to one host; 0 is 2, negative keeps none.
	MaxIdlePerHost int
	// IdleTimeout is how long an idle connection is kept; 0 is for ever.
	IdleTimeout time.Duration
	// ResponseHeaderTimeout is how long the response's head may take after the request is sent; 0 is no limit.
	ResponseHeaderTimeout time.Duration
	// MaxResponseHeaderBytes bounds a response's head together with the interim responses before it; 0 is 256 KiB.
	MaxResponseHeaderBytes int
	// Fields bounds the header, the interim responses and the trailers each; zero is httpfield.DefaultLimits.
	Fields httpfield.Limits
	// Fallback does what this package does not. It must be able to reach the same origins.
	Fallback http.RoundTripper
}

// Transport is an http.RoundTripper.
type Transport struct {
	cfg     Config
	idle    *pool
	readers readers
	heads   outgoings
	uploads sync.Pool // of *[]byte
}

var _ http.RoundTripper = (*Transport)(nil)

// New makes a Transport without connections.
func New(cfg Config) *Transport {
	if cfg.MaxResponseHeaderBytes == 0 {
		cfg.MaxResponseHeaderBytes = defaultMaxHead
	}
	if cfg.Fields == (httpfield.Limits{}) {
		cfg.Fields = httpfield.DefaultLimits()
	}
	return &Transport{cfg: cfg, idle: newPool(cfg.MaxIdle, cfg.MaxIdlePerHost, cfg.IdleTimeout)}
}

// CloseIdleConnections closes idle connections, also those of the fallback. Those of running exchanges close as these
// end, unless a new request comes first.
func (t *Transport) CloseIdleConnections() {
	t.idle.close()
	if f, ok := t.cfg.Fallback.(interface{ CloseIdleConnections() }); ok {
		f.CloseIdleConnections()
	}
}

// RoundTrip runs one exchange up to the head of the response. It closes the request's body, if need be after it returns.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !t.takes(req) {
		return t.cfg.Fallback.RoundTrip(req)
	}
	out := t.heads.take()
	defer t.heads.put(out)
	if !out.encode(req) {
		return t.cfg.Fallback.RoundTrip(req)
	}
	if ctx := req.Context(); ctx.Err() != nil {
		closeBody(req)
		return nil, context.Cause(ctx)
	}
	key := hostPort(req.URL.Host)
	c := t.idle.get(key)
	for {
		if c == nil {
			var err error
			if c, err = t.dial(req, key); err != nil {
				closeBody(req)
				return nil, err
			}
		}
		res, again, err := t.exchange(req, c, out)
		if !again {
			return res, err
		}
		c = nil // once more, on a connection of its own
	}
}

// takes reports whether a request is of the usual kind.
func (t *Transport) takes(req *http.Request) bool {
	if !canLook || req.URL == nil || req.URL.Scheme != "http" || req.URL.Host == "" || !hostBytes.holds(req.URL.Host) || req.Close ||
		req.Cancel != nil { //nolint:staticcheck // deprecated, so not for us
		return false
	}
	if t.cfg.Proxy == nil {
		return true
	}
	proxy, err := t.cfg.Proxy(req)
	return proxy == nil && err == nil
}

// hostPort is the address of a URL's host.
func hostPort(host string) string {
	for i := len(host) - 1; i >= 0 && '0' <= host[i] && host[i] <= '9'; i-- {
		if i > 0 && host[i-1] == ':' {
			return host
		}
	}
	u := url.URL{Host: host}
	return net.JoinHostPort(u.Hostname(), "80")
}

func (t *Transport) dial(req *http.Request, addr string) (*conn, error) {
	ctx := req.Context()
	nc, err := t.cfg.DialContext(ctx, "tcp", addr)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	return newConn(nc, addr), nil
}

// closeBody closes the body of a request that was not begun.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // nothing was read
	}
}

// exchange sends the request and reads the head of the response. again says that the connection turned out to be dead and
// that the request may be sent once more; then nothing was done to its body.
func (t *Transport) exchange(req *http.Request, c *conn, out *outgoing) (res *http.Response, again bool, err error) {
	ctx := req.Context()
	x := roundTrip{t: t, c: c, req: req}
	if ctx.Done() != nil {
		x.stop = context.AfterFunc(ctx, c.hangUp)
	}
	x.in = t.readers.take(c.nc)
	if n, err := c.nc.Write(out.buf); err != nil {
		again := c.reused && ctx.Err() == nil && (n == 0 || out.body == bodyNone && isReplayable(req))
		err = cause(ctx, err)
		x.abort()
		if !again {
			closeBody(req)
		}
		return nil, again, err
	}
	x.send(out.body)
	h, err := x.readHead(ctx)
	if err != nil {
		again := c.reused && out.body == bodyNone && !x.heard && x.in.buffered() == 0 && isReplayable(req) &&
			!errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil
		err = x.failure(ctx, err)
		x.abort()
		return nil, again, err
	}
	res, err = x.accept(ctx, h)
	return res, false, err
}

// send starts the body, or the clock for the response.
func (x *roundTrip) send(kind bodyKind) {
	wait := x.t.cfg.ResponseHeaderTimeout
	if kind == bodyNone {
		if wait > 0 {
			_ = x.c.nc.SetReadDeadline(time.Now().Add(wait)) // fails on a closed connection only
		}
		return
	}
	x.up = &upload{c: x.c, req: x.req, kind: kind, wait: wait, done: make(chan struct{})}
	go func(u *upload, t *Transport) { // ends with the exchange: see upload.stop
		buf, ok := t.uploads.Get().(*[]byte)
		if !ok {
			b := make([]byte, uploadBuf)
			buf = &b
		}
		u.run(*buf)
		t.uploads.Put(buf)
	}(x.up, x.t)
}

// readHead reads the final head, past interim ones.
func (x *roundTrip) readHead(ctx context.Context) (h h1codec.Head, err error) {
	limit := x.t.cfg.MaxResponseHeaderBytes
	for {
		text, lines, err := x.in.readHead(limit, 2*x.t.cfg.Fields.MaxFields) // folded lines count once more
		if err != nil {
			return h1codec.Head{}, err
		}
		x.heard = true
		limit -= len(text)
		if h, err = h1codec.ParseHead(text, lines, x.t.cfg.Fields); err != nil {
			return h1codec.Head{}, err
		}
		if h.Code >= 200 || h.Code == http.StatusSwitchingProtocols {
			break
		}
		if err := interim(ctx, h); err != nil {
			return h1codec.Head{}, err
		}
	}
	if x.up != nil {
		x.up.headCame()
	}
	if x.t.cfg.ResponseHeaderTimeout > 0 {
		err = x.c.nc.SetReadDeadline(time.Time{})
	}
	return h, err
}

// interim calls the Got1xxResponse hook for an interim response. The context is searched only when there is one.
func interim(ctx context.Context, h h1codec.Head) error {
	trace := httptrace.ContextClientTrace(ctx)
	if trace == nil || trace.Got1xxResponse == nil {
		return nil
	}
	return trace.Got1xxResponse(h.Code, textproto.MIMEHeader(h.Header))
}

// failure is why there is no head.
func (x *roundTrip) failure(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		if x.up != nil {
			if uerr := x.up.failure(); uerr != nil {
				return uerr
			}
		}
		if x.t.cfg.ResponseHeaderTimeout > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			return headTimeoutError{}
		}
	}
	return cause(ctx, err)
}

// accept makes the response of a head. Without a body the exchange ends here.
func (x *roundTrip) accept(ctx context.Context, h h1codec.Head) (*http.Response, error) {
	s, err := h1codec.Settle(x.req.Method, &h)
	if err != nil {
		x.abort()
		return nil, cause(ctx, err)
	}
	h1codec.FixPragma(h.Header)
	a := &response{res: http.Response{
		Status: h.Status, StatusCode: h.Code,
		Proto: h.Proto, ProtoMajor: h.Major, ProtoMinor: h.Minor,
		Header: h.Header, Trailer: s.Trailer,
		ContentLength: s.Length, Close: s.Closes, Request: x.req,
	}}
	if s.Coded {
		a.res.TransferEncoding = []string{"chunked"}
	}
	if s.Framing == h1codec.NoBody {
		x.finish(!s.Closes && h.Code != http.StatusSwitchingProtocols)
		a.res.Body = http.NoBody
		return &a.res, nil
	}
	b := &a.body
	b.x, b.framing, b.left, b.closes = *x, s.Framing, s.Length, s.Closes
	b.trailer, b.chunks.Limits = &a.res.Trailer, x.t.cfg.Fields
	b.open.Store(x.c)
	a.res.Body = b
	return &a.res, nil
}
