package h2_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

func headers(n, size int) (pairs []stream.Pair) {
	for i := range n {
		pairs = append(pairs, stream.Pair{Key: fmt.Sprintf("HttpHeader:X-%d", i), Val: strings.Repeat("v", size)})
	}
	return pairs
}

func requestWith(pairs []stream.Pair) stream.Request {
	target := []stream.Pair{{Key: "HttpMethod", Val: "GET"}, {Key: "HttpHost", Val: "a"}}
	return stream.Request{Dest: "http://a/", Metadata: append(target, pairs...)}
}

// TestHeaderLimits: what a visitor or an origin may send passes both ways; a request beyond gets 431, a response beyond
// is reset, and the session goes on in both cases.
func TestHeaderLimits(t *testing.T) {
	connector, edge := sessions(t, nil)
	control(t, connector, edge)
	fits := map[string][]stream.Pair{"256 fields": headers(256, 10), "64 KiB": headers(1, 64<<10), "127 KiB in 200 fields": headers(200, 600)}
	for name, pairs := range fits {
		near, far, got, _ := exchange(t, connector, edge, requestWith(pairs), "")
		if n := len(got.Metadata); n < len(pairs)+2 {
			t.Errorf("%s: %d entries of a request's metadata", name, n)
		}
		send(t, near, &stream.Response{Metadata: append([]stream.Pair{{Key: "HttpStatus", Val: "200"}}, pairs...)}, "")
		_ = near.CloseWrite()
		if resp, _, err := readResponse(far); err != nil || len(resp.Metadata) < len(pairs)+1 {
			t.Errorf("%s: %d entries of a response's metadata, %v", name, len(resp.Metadata), err)
		}
		near.CancelRead(0)
		far.CancelRead(0)
		_ = far.CloseWrite()
	}
	beyond := map[string][]stream.Pair{"300 fields": headers(300, 1), "160 KiB": headers(1, 160<<10), "10000 fields": headers(10000, 1)}
	for name, pairs := range beyond {
		far, err := edge.OpenStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		req := requestWith(pairs)
		send(t, far, &req, "")
		resp, _, err := readResponse(far)
		if status, _ := stream.Lookup(resp.Metadata, "HttpStatus"); err != nil || status != "431" || resp.Error != "" {
			t.Errorf("%s in a request: response %v, %v, want 431", name, resp, err)
		}
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%s in a request: after the response: %v", name, err)
		}
		far.CancelRead(0)
		far.CancelWrite(0)

		near, far, _, _ := exchange(t, connector, edge, requestWith(nil), "")
		send(t, near, &stream.Response{Metadata: append([]stream.Pair{{Key: "HttpStatus", Val: "200"}}, pairs...)}, "")
		if _, _, err := readResponse(far); err == nil {
			t.Errorf("%s in a response: accepted", name)
		}
		near.CancelRead(0)
		near.CancelWrite(0)
		far.CancelRead(0)
	}
	for s, e := range map[transport.Session]transport.Session{connector: edge} {
		if s.Context().Err() != nil || e.Context().Err() != nil {
			t.Error("the session has ended")
		}
	}
}

// TestUnregisteredConnector: a connector that never registers cannot make the edge hold more than the window of its
// control stream, since only the edge opens streams.
func TestUnregisteredConnector(t *testing.T) {
	connector, edge := sessions(t, nil)
	near, _ := control(t, connector, edge)
	before := heap()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		buf := make([]byte, 64<<10)
		for {
			if _, err := near.Write(buf); err != nil {
				return
			}
		}
	}()
	for range 50 {
		if grown := heap() - before; grown > 4<<20 {
			t.Fatalf("heap grew by %d bytes", grown)
		}
	}
	near.CancelWrite(0)
	<-sent
}
