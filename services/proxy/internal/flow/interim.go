package flow

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"sync"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// interim passes on what comes before the final response (docs/extensions.md). The origin's client calls it from goroutines
// of its own, perhaps after its RoundTrip has returned, so nothing of it is used again for another flow.
type interim struct {
	trace httptrace.ClientTrace

	mu     sync.Mutex       // held during a write, so that no interim response comes behind the final one
	s      link.Stream      // nil once the final response is due
	left   int              // how many may still go
	fields httpfield.Limits // of each one
	said   bool             // 100 has gone
	m      *metrics
}

func newInterim(s link.Stream, fields httpfield.Limits, m *metrics) *interim {
	i := &interim{s: s, left: stream.MaxInterim, fields: fields, m: m}
	i.trace.Got1xxResponse = i.got
	return i
}

// watch gives the context for an exchange whose interim responses are wanted.
func (i *interim) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &i.trace)
}

// got handles an interim response of the origin. 100 is not passed on: the first read of the body sends one (proceed).
func (i *interim) got(code int, header textproto.MIMEHeader) error {
	if code == http.StatusContinue || code == http.StatusSwitchingProtocols {
		return nil
	}
	md := []stream.Pair{{Key: stream.KeyStatus, Val: strconv.Itoa(code)}}
	meter := i.fields.Meter()
	connection := header["Connection"]
	for name, values := range header {
		for _, v := range values {
			if err := meter.Add(len(name), len(v)); err != nil {
				return err // ends the request
			}
		}
		if !keepsInResponse(name) || name == "Content-Length" || httpfield.IsNamed(connection, name) {
			continue
		}
		for _, v := range values {
			md = append(md, stream.Pair{Key: stream.HeaderPrefix + name, Val: v})
		}
	}
	i.send(code, md)
	return nil
}

// proceed sends 100 when the origin's client begins to read the request's body.
func (i *interim) proceed() {
	i.mu.Lock()
	again := i.said
	i.said = true
	i.mu.Unlock()
	if !again {
		i.send(http.StatusContinue, []stream.Pair{{Key: stream.KeyStatus, Val: "100"}})
	}
}

// send writes one interim response, unless it comes too late or is one too many. A failed write shows again in the next one.
func (i *interim) send(code int, md []stream.Pair) {
	resp := stream.Response{Metadata: md}
	out, err := resp.Append(nil)
	if err != nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.s == nil || i.left == 0 {
		return
	}
	i.left--
	i.m.responded(code)
	_, _ = i.s.Write(out)
}

// end lets nothing more through. Call it before the final response.
func (i *interim) end() {
	if i == nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.s = nil
}
