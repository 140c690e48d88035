package front

import (
	"net/http"

	"golang.org/x/net/http/httpguts"

	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// expectsContinue reports whether the visitor keeps its body back until somebody wants it.
func expectsContinue(r *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(r.Header["Expect"], "100-continue")
}

// statusIs looks at the status of the answer's head.
func (x *exchange) statusIs(status string) bool {
	val, _ := stream.Lookup(x.resp.Metadata, stream.KeyStatus)
	return val == status
}

// interim reports whether the head that came is not the final one, and passes it on. Before it n others came.
func (x *exchange) interim(n int) bool {
	if x.accept != acceptInterim || n >= stream.MaxInterim || x.resp.Error != "" {
		return false // if it is one after all, it is refused like every other bad answer
	}
	val, _ := stream.Lookup(x.resp.Metadata, stream.KeyStatus)
	if len(val) != 3 || val[0] != '1' || val == "101" {
		return false
	}
	h := make(http.Header)
	a, ok := parseHead(h, x.resp.Metadata)
	switch {
	case !ok:
		return false
	case a.status == http.StatusContinue: // the server says it when it begins to read the body
		return true
	case x.r.ProtoMajor == 1 && expectsContinue(x.r): // and must not be interrupted there
		return true
	}
	delete(h, "Content-Length")
	out := x.w.Header()
	kept := out["Connection"] // of the final answer
	clear(out)
	for name, values := range h {
		out[name] = values
	}
	x.w.WriteHeader(a.status)
	clear(out)
	if kept != nil {
		out["Connection"] = kept
	}
	return true
}
