package flow

import (
	"context"
	"net/http"
	"net/url"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
)

const (
	connectorTagName = "Cf-Warp-Tag-Id"
	protoHTTP11      = "HTTP/1.1"
)

// connectorTag keeps the text of the connector id, which is the same for nearly all flows.
type connectorTag struct {
	id     tunnel.ConnectorID
	values []string
}

// connectorValues gives the shared header value of a connector id. It must not be changed.
func (h *Handler) connectorValues(id tunnel.ConnectorID) []string {
	if t := h.connector.Load(); t != nil && t.id == id {
		return t.values
	}
	t := &connectorTag{id: id, values: []string{id.String()}}
	h.connector.Store(t)
	return t.values
}

// keepAlive is what the origin reads in Connection (docs/spec/ingress.md 7.1). The slice is shared and must not be changed.
var keepAlive = []string{"keep-alive"} //nolint:gochecknoglobals // a constant

// outgoing builds the request for an origin from parts, without parsing anything again. ctx ends the exchange.
func (x *flowState) outgoing(ctx context.Context, p *parsed, o *origin.Origin) (*http.Request, error) {
	host := p.host
	if o.HostHeader != "" {
		host = o.HostHeader
		p.header["X-Forwarded-Host"] = []string{p.host}
	}
	scheme, target, err := o.Target(host)
	if err != nil {
		return nil, badRequest(err.Error())
	}
	p.header["Connection"] = keepAlive
	p.header[connectorTagName] = x.h.connectorValues(x.meta.Connector)
	for i := range x.h.tags {
		p.header[x.h.tags[i].name] = x.h.tags[i].values
	}
	if !p.hasAgent {
		p.header["User-Agent"] = nil // or the client library would name itself
	}
	r := &http.Request{
		Method: p.method,
		URL: &url.URL{
			Scheme: scheme, Host: target,
			Path: p.path, RawPath: p.raw, RawQuery: p.query, ForceQuery: p.asks && p.query == "",
		},
		Proto: protoHTTP11, ProtoMajor: 1, ProtoMinor: 1,
		Header:        p.header,
		Host:          host,
		ContentLength: p.length,
	}
	if x.body != nil {
		r.Body = x.body
		if x.body.frames != nil {
			r.Trailer = x.body.frames.trailer
		}
	} else {
		r.Body = http.NoBody
	}
	if x.early != nil {
		ctx = x.early.watch(ctx)
	}
	return r.WithContext(ctx), nil
}
