package ports

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/proxyproto"
	wire "github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/pkg/wire/websocket"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
	"github.com/culvert-tunnel/culvert/services/edge/internal/route"
)

const (
	keyFlowID = "FlowID"
	// maxAnswerHead bounds the head of a connector's answer.
	maxAnswerHead = 1 << 20
	firstRead     = 4 << 10
	keySize       = 16
)

// leg is the tunnel's part of the way: an accepted stream of a connector.
type leg struct {
	transport.Stream
	// first is what of the answer came with its head, ended whether that is all.
	first []byte
	ended bool
	// websocket says that the bytes travel in messages.
	websocket bool
	// preface is what the origin gets before the visitor's bytes, if it was not sent with the request.
	preface []byte
}

// ask opens a stream on one connection and waits until the connector has reached the origin.
func (v *visitor) ask(ctx context.Context, conn *registry.Conn) (*leg, *fault) {
	limited, cancel := context.WithTimeout(ctx, v.cfg.ConnectTimeout)
	defer cancel()
	st, err := conn.Session.OpenStream(limited)
	if err != nil {
		return nil, &fault{result: resultLost, detail: err.Error(), again: true}
	}
	unwatch := context.AfterFunc(limited, func() { cancelStream(st) }) // too late, or the edge stops
	out, f := v.exchange(st)
	if !unwatch() && f == nil {
		f = &fault{result: resultRefused, detail: "no answer in time"}
	}
	if f != nil {
		cancelStream(st)
		if errors.Is(limited.Err(), context.DeadlineExceeded) {
			f = &fault{result: resultRefused, detail: "no answer in time"}
		}
		return nil, f
	}
	return out, nil
}

func cancelStream(st transport.Stream) {
	st.CancelWrite(transport.NoError)
	st.CancelRead(transport.NoError)
}

// exchange says what is wanted and reads the answer.
func (v *visitor) exchange(st transport.Stream) (*leg, *fault) {
	out := &leg{Stream: st, websocket: v.port.Target.Host != "", preface: v.preface()}
	req, key := v.request()
	head, err := req.Append(nil)
	if err != nil {
		return nil, &fault{result: resultRefused, detail: err.Error()}
	}
	if !out.websocket {
		head, out.preface = append(head, out.preface...), nil
	}
	if _, err := st.Write(head); err != nil {
		return nil, &fault{result: resultLost, detail: err.Error(), again: true}
	}
	var resp wire.Response
	out.first, out.ended, err = readHead(st, &resp)
	if err != nil {
		return nil, failed(err)
	}
	if resp.Error != "" {
		return nil, refused(&resp)
	}
	if out.websocket {
		err = checkUpgrade(&resp, key)
	} else {
		err = checkAccepted(&resp)
	}
	if err != nil {
		return nil, &fault{result: resultRefused, detail: err.Error()}
	}
	return out, nil
}

// preface is the header of the PROXY protocol, when the route wants one.
func (v *visitor) preface() []byte {
	version, err := proxyproto.ParseVersion(string(v.port.Target.ProxyProtocol))
	if err != nil {
		return nil // the route was validated
	}
	return proxyproto.Header{Source: v.remote, Destination: v.local}.Append(nil, version)
}

// request is what the connector is asked for, and the key of the websocket, if it is one.
func (v *visitor) request() (*wire.Request, string) {
	t := v.port.Target
	if t.Host == "" {
		return &wire.Request{Dest: t.To.String(), Type: wire.TCP, Metadata: []wire.Pair{
			{Key: keyFlowID, Val: v.flow}, {Key: wire.KeyClient, Val: v.remote.String()},
		}}, ""
	}
	var raw [keySize]byte
	_, _ = rand.Read(raw[:]) // crypto/rand ends the process rather than fail
	key := base64.StdEncoding.EncodeToString(raw[:])
	header := func(name, val string) wire.Pair { return wire.Pair{Key: wire.HeaderPrefix + name, Val: val} }
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

// errAnswer says that the connector's answer is not one.
var errAnswer = errors.New("malformed answer")

// readHead reads until the head of the answer is complete; rest is what came after it, ended whether that is all.
func readHead(st transport.Stream, resp *wire.Response) (rest []byte, ended bool, err error) {
	buf, have := make([]byte, firstRead), 0
	for {
		n, rerr := st.Read(buf[have:])
		have += n
		used, perr := wire.ParseResponseLimit(buf[:have], resp, maxAnswerHead)
		switch {
		case perr == nil:
			if rerr != nil && rerr != io.EOF { //nolint:errorlint // the bare value is the contract of io.Reader
				return nil, false, rerr
			}
			return buf[used:have], rerr != nil, nil
		case !errors.Is(perr, wire.ErrShort):
			return nil, false, errors.Join(errAnswer, perr)
		case rerr == io.EOF: //nolint:errorlint // the bare value is the contract of io.Reader
			return nil, false, errors.Join(errAnswer, io.ErrUnexpectedEOF)
		case rerr != nil:
			return nil, false, rerr
		case have == len(buf):
			buf = append(buf, make([]byte, len(buf))...)
		}
	}
}

// failed says what it means that no answer came.
func failed(err error) *fault {
	var lost *tunnel.ConnError
	switch {
	case errors.As(err, &lost):
		return &fault{result: resultLost, detail: err.Error(), again: true}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &fault{result: resultRefused, detail: "no answer in time"}
	default:
		return &fault{result: resultRefused, detail: err.Error()}
	}
}

// refused reads the connector's own error (docs/spec/wire.md 5.4). A full connector, and one of ours that says 503, may have a
// neighbour that takes the visitor.
func refused(resp *wire.Response) *fault {
	f := &fault{result: resultRefused, detail: resp.Error}
	for _, p := range resp.Metadata {
		if (p.Key == wire.KeyFlowLimited && p.Val == "true") || (p.Key == wire.KeyStatus && p.Val == "503") {
			f.again = true
		}
	}
	return f
}

// checkAccepted looks at the answer to a TCP request: a connector over QUIC says no status, one over HTTP/2 says 200.
func checkAccepted(resp *wire.Response) error {
	for _, p := range resp.Metadata {
		if p.Key == wire.KeyStatus && p.Val != "200" && p.Val != "101" {
			return fmt.Errorf("the connector answered a TCP request with status %s", p.Val)
		}
	}
	return nil
}

// checkUpgrade looks at the answer to a websocket request: over HTTP/2 a 101 may come as 200 (docs/spec/wire.md 9.4), so that
// the accepted key alone tells.
func checkUpgrade(resp *wire.Response, key string) error {
	status, accept := "", ""
	for _, p := range resp.Metadata {
		if p.Key == wire.KeyStatus {
			status = p.Val
		} else if name, ok := strings.CutPrefix(p.Key, wire.HeaderPrefix); ok && strings.EqualFold(name, "Sec-Websocket-Accept") {
			accept = strings.TrimSpace(p.Val)
		}
	}
	switch {
	case status != "101" && (status != "200" || accept == ""):
		return fmt.Errorf("the ingress rule answered with status %q and not with a websocket", status)
	case accept != websocket.AcceptKey(key):
		return errors.New("the ingress rule accepted another websocket than was asked for")
	}
	return nil
}

// limitRead bounds a read that is only for the end of something.
func limitRead(c interface{ SetReadDeadline(t time.Time) error }, d time.Duration) {
	_ = c.SetReadDeadline(time.Now().Add(d)) // fails only on a dead connection, which the read tells
}
