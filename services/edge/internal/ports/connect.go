package ports

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/proxyproto"
	wire "github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/pkg/wire/websocket"
	"github.com/culvert-tunnel/culvert/services/edge/internal/dispatch"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
)

const (
	keyFlowID = "FlowID"
	firstRead = 4 << 10
	keySize   = 16
)

// tunnelEnd is the tunnel's end of a visitor's connection: an accepted stream of a connector.
type tunnelEnd struct {
	transport.Stream
	// first holds the bytes that arrived with the head of the response.
	first dispatch.Input
	// websocket says that the bytes travel in messages.
	websocket bool
	// preface is sent to the origin before the visitor's bytes, unless it was sent with the request.
	preface []byte
}

// connect opens a stream on one connection and waits until the connector has reached the origin.
func (v *visitor) connect(ctx context.Context, conn *registry.Conn) (*tunnelEnd, *dispatch.Failure) {
	limited, cancel := context.WithTimeout(ctx, v.cfg.ConnectTimeout)
	defer cancel()
	req, key := v.request()
	head, err := req.Append(nil)
	if err != nil {
		return nil, &dispatch.Failure{Kind: dispatch.TooLarge, Detail: err.Error()}
	}
	out := &tunnelEnd{websocket: key != ""}
	if preface := v.preface(); out.websocket {
		out.preface = preface
	} else {
		head = append(head, preface...)
	}
	st, unwatch, f := dispatch.Open(limited, conn, head)
	if f != nil {
		return nil, v.late(limited, f)
	}
	out.Stream = st
	f = out.accept(key)
	if !unwatch() && f == nil {
		f = &dispatch.Failure{Kind: dispatch.Canceled, Detail: context.Cause(limited).Error()}
	}
	if f != nil {
		transport.Abort(st)
		return nil, v.late(limited, f)
	}
	return out, nil
}

// late replaces a failure that the connect timeout has caused.
func (v *visitor) late(limited context.Context, f *dispatch.Failure) *dispatch.Failure {
	if errors.Is(limited.Err(), context.DeadlineExceeded) {
		return &dispatch.Failure{Kind: dispatch.Timeout, Detail: "no response in time"}
	}
	return f
}

// accept reads the head of the response, and checks that it accepts the request.
func (e *tunnelEnd) accept(key string) *dispatch.Failure {
	var resp wire.Response
	var err error
	if e.first, err = dispatch.ReadHead(e.Stream, make([]byte, firstRead), dispatch.Input{}, &resp); err != nil {
		return dispatch.NoResponse(err, true) // none of the visitor's bytes were sent
	}
	if f := dispatch.RefusalOf(&resp, false); f != nil {
		return f
	}
	if e.websocket {
		err = checkUpgrade(&resp, key)
	} else {
		err = checkAccepted(&resp)
	}
	if err != nil {
		return &dispatch.Failure{Kind: dispatch.Malformed, Detail: err.Error()}
	}
	return nil
}

// preface is the header of the PROXY protocol, if the route is set to send one.
func (v *visitor) preface() []byte {
	version, err := proxyproto.ParseVersion(string(v.port.Target.ProxyProtocol))
	if err != nil {
		return nil // the route was validated
	}
	return proxyproto.Header{Source: v.remote, Destination: v.local}.Append(nil, version)
}

// request makes the request for the connector, and the key of the WebSocket if it is one.
func (v *visitor) request() (*wire.Request, string) {
	t := v.port.Target
	if t.Host == "" {
		return &wire.Request{Dest: t.To.String(), Type: wire.TCP, Metadata: []wire.Pair{
			{Key: keyFlowID, Val: v.flow}, {Key: wire.KeyClient, Val: v.remote.String()},
		}}, ""
	}
	var raw [keySize]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	key := base64.StdEncoding.EncodeToString(raw[:])
	header := func(name, val string) wire.Pair { return wire.Pair{Key: wire.HeaderKey(name), Val: val} }
	client := v.remote.Addr().String()
	return &wire.Request{Dest: "http://" + t.Host + "/", Type: wire.WebSocket, Metadata: []wire.Pair{
		{Key: wire.KeyMethod, Val: http.MethodGet},
		{Key: wire.KeyHost, Val: t.Host},
		header("Connection", "Upgrade"), header("Upgrade", "websocket"),
		header("Sec-Websocket-Version", "13"), header("Sec-Websocket-Key", key),
		header("X-Forwarded-For", client), header("X-Forwarded-Proto", string(route.TCP)), header("Cf-Connecting-Ip", client),
		{Key: keyFlowID, Val: v.flow},
		{Key: wire.KeyClient, Val: v.remote.String()},
	}}, key
}

// checkAccepted checks the response to a TCP request: a connector over QUIC states no status, one over HTTP/2 states 200.
func checkAccepted(resp *wire.Response) error {
	for _, p := range resp.Metadata {
		if p.Key == wire.KeyStatus && p.Val != "200" && p.Val != "101" {
			return fmt.Errorf("response to a TCP request with status %s", p.Val)
		}
	}
	return nil
}

// checkUpgrade checks the response to a WebSocket request. Over HTTP/2 a 101 may come as 200 (docs/spec/wire.md 9.4), so that
// only the accept key shows that the WebSocket is accepted.
func checkUpgrade(resp *wire.Response, key string) error {
	status, accept := "", ""
	for _, p := range resp.Metadata {
		if p.Key == wire.KeyStatus {
			status = p.Val
		} else if wire.IsHeader(p.Key, "Sec-Websocket-Accept") {
			accept = strings.TrimSpace(p.Val)
		}
	}
	switch {
	case status != "101" && (status != "200" || accept == ""):
		return fmt.Errorf("the ingress rule responded with status %q and not with a WebSocket", status)
	case accept != websocket.AcceptKey(key):
		return errors.New("the ingress rule responded with the accept key of another WebSocket")
	}
	return nil
}

// limitRead sets the deadline of reads that wait for the peer to close.
func limitRead(c interface{ SetReadDeadline(t time.Time) error }, d time.Duration) {
	_ = c.SetReadDeadline(time.Now().Add(d)) // fails only on a dead connection, where the read fails as well
}
