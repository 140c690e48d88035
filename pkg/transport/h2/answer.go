package h2

import (
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// unexplained is the error of a connector that does not say what it was.
const unexplained = "the connector could not serve the request"

// answerFields are the fields of an answer that mean something to the edge.
type answerFields struct{ status, meta, block, length, tracing, errStatus, errText string }

func readAnswer(head []mux.Field) answerFields {
	var f answerFields
	for i := range head {
		into := (*string)(nil)
		switch head[i].Name {
		case ":status":
			into = &f.status
		case h2head.Meta:
			into = &f.meta
		case h2head.Block:
			into = &f.block
		case "content-length":
			into = &f.length
		case h2head.Tracing:
			into = &f.tracing
		case statusHeader:
			into = &f.errStatus
		case errorHeader:
			into = &f.errText
		}
		if into != nil && *into == "" {
			*into = head[i].Value
		}
	}
	return f
}

// tracingKey is the metadata of spans in a TCP answer.
const tracingKey = "Cf-Int-Cloudflared-Tracing"

// toResponse turns the head of an HTTP/2 answer into a ConnectResponse; framed says that the body is to be framed.
func toResponse(head []mux.Field, w wanted, ended bool, resp *stream.Response) (framed bool, err error) {
	f := readAnswer(head)
	*resp = stream.Response{Metadata: resp.Metadata[:0]}
	if connector, limited := h2head.FromConnector(f.meta); connector {
		f.failure(resp, limited)
		return false, nil
	}
	if w.kind == h2head.TCP {
		if f.status != "200" {
			resp.Error = unexplained + ": status " + f.status
		}
		if f.tracing != "" {
			resp.Metadata = append(resp.Metadata, stream.Pair{Key: tracingKey, Val: f.tracing})
		}
		return false, nil
	}
	resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.KeyStatus, Val: f.status})
	if resp.Metadata, err = h2head.ParseBlock(resp.Metadata, f.block, stream.HeaderPrefix); err != nil {
		return false, err
	}
	sized, upgraded := scan(resp.Metadata)
	if w.kind == h2head.WebSocket && f.status == "200" && upgraded {
		resp.Metadata[0].Val = switching
		return false, nil
	}
	interim := f.status[0] == '1'
	if !sized && f.length != "" && !interim {
		resp.Metadata = append(resp.Metadata, stream.Pair{Key: contentLengthKey, Val: f.length})
		sized = true
	}
	if f.tracing != "" {
		resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.HeaderPrefix + tracingKey, Val: f.tracing})
	}
	if interim || !w.frames || w.kind != h2head.HTTP {
		return false, nil
	}
	return announceBody(resp, ended, sized), nil
}

// failure is the connector's own error.
func (f *answerFields) failure(resp *stream.Response, limited bool) {
	resp.Error = first(f.errText, unexplained)
	if limited {
		resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.KeyFlowLimited, Val: "true"})
	}
	if f.errStatus != "" {
		resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.KeyStatus, Val: f.errStatus})
	}
}

// announceBody says that there is no body, or that it is framed since it may have trailers.
func announceBody(resp *stream.Response, ended, sized bool) (framed bool) {
	switch {
	case ended:
		resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.KeyBody, Val: stream.BodyNone})
	case !sized:
		resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.KeyBody, Val: stream.BodyFrames})
		return true
	}
	return false
}

// scan looks for a length and for an upgrade.
func scan(pairs []stream.Pair) (sized, upgraded bool) {
	for i := range pairs {
		name, ok := strings.CutPrefix(pairs[i].Key, stream.HeaderPrefix)
		if !ok {
			continue
		}
		sized = sized || strings.EqualFold(name, "content-length")
		upgraded = upgraded || strings.EqualFold(name, "upgrade")
	}
	return sized, upgraded
}
