package flow

import (
	"context"
	"net/http"
	"net/url"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/websock"
)

// maxManagementMessage bounds a message of a websocket on the management host, in bytes, as the reference does.
const maxManagementMessage = 32 << 10

// Management decides what responds to a request for the management host (docs/spec/lifecycle.md 10.6): a handler, or what serves a
// websocket. key is the metadata KeyManagement. Package management has it.
type Management func(r *http.Request, about link.Meta, key string, webSocket bool) (
	h http.Handler, serve func(ctx context.Context, ws *websock.Messages) error)

// serveManagement responds to a request for the management host. It reaches no origin, since its query holds an access token.
func (x *flowState) serveManagement(ctx context.Context, p *parsed, rest []byte) error {
	req := (&http.Request{
		Method: p.method, URL: &url.URL{Path: p.path, RawPath: p.raw, RawQuery: p.query}, Header: p.header, Host: p.host, Body: http.NoBody,
		Proto: protoHTTP11, ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	handshake := x.req.Type == stream.WebSocket && p.upgrade == "" && p.header.Get(keyHeader) != ""
	h, serve := x.h.management(req, x.meta, x.metadata(stream.KeyManagement), handshake)
	if serve == nil {
		return x.handleWith(ctx, h, req)
	}
	if err := x.acceptWebSocket(ctx, p); err != nil {
		return err
	}
	stop := abortWith(ctx, x.s)
	defer stop()
	if err := serve(ctx, websock.NewMessages(x.s, x.edge(rest), maxManagementMessage)); err != nil {
		return &leftError{err}
	}
	return nil
}
