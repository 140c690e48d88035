package front

import (
	"net/http"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge/internal/headpolicy"
)

// expectsContinue reports whether the visitor delays its body until a response with status 100.
func expectsContinue(r *http.Request) bool {
	return httpfield.ListHasToken(r.Header[headpolicy.Expect], "100-continue")
}

// statusIs compares the status of the response's head.
func (rt *roundTrip) statusIs(status string) bool {
	val, _ := stream.Lookup(rt.resp.Metadata, stream.KeyStatus)
	return val == status
}

// interim reports whether the head that was read is that of an interim response, the n-th counted from 0, and passes it on.
func (rt *roundTrip) interim(n int) bool {
	if rt.accept != acceptInterim || n >= stream.MaxInterim || rt.resp.Error != "" {
		return false // respond refuses an interim response that was not offered
	}
	val, _ := stream.Lookup(rt.resp.Metadata, stream.KeyStatus)
	if len(val) != 3 || val[0] != '1' || val == "101" {
		return false
	}
	h := make(http.Header)
	head, err := headpolicy.ParseResponse(h, rt.resp.Metadata, rt.front.header)
	switch {
	case err != nil:
		return false
	case head.Status == http.StatusContinue: // the server writes it when the body is first read
		return true
	case rt.r.ProtoMajor == 1 && expectsContinue(rt.r): // the server's own 100 must come first
		return true
	}
	delete(h, headpolicy.ContentLength)
	out := rt.w.Header()
	kept := out[headpolicy.Connection] // it belongs to the final response
	clear(out)
	for name, values := range h {
		out[name] = values
	}
	rt.w.WriteHeader(head.Status)
	clear(out)
	if kept != nil {
		out[headpolicy.Connection] = kept
	}
	return true
}
