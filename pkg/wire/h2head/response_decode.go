package h2head

import (
	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// noDetails is the error text for a connector that gives none.
const noDetails = "the connector could not serve the request"

// tracingKey is the metadata key of the spans of a TCP response, and the name of the header with those of an HTTP response.
const tracingKey = "Cf-Int-Cloudflared-Tracing"

// responseFields are the fields of a response that have a meaning for the edge.
type responseFields struct{ status, meta, block, length, tracing, errStatus, errText string }

// readResponse collects the fields; of repeated ones the first counts.
func readResponse(header []httpfield.Field) responseFields {
	var f responseFields
	for i := range header {
		into := (*string)(nil)
		switch header[i].Name {
		case ":status":
			into = &f.status
		case Meta:
			into = &f.meta
		case Block:
			into = &f.block
		case "content-length":
			into = &f.length
		case Tracing:
			into = &f.tracing
		case statusField:
			into = &f.errStatus
		case errorField:
			into = &f.errText
		}
		if into != nil && *into == "" {
			*into = header[i].Value
		}
	}
	return f
}

// DecodeResponse turns the header of an HTTP/2 response to the request sent into a ConnectResponse; resp.Metadata's array
// is reused. The status must have three characters. ended says that neither body nor trailers follow. framed says that the body must be
// turned into frames of the stream form. limits bound the headers in the block: beyond them the error is
// httpfield.ErrLimit, and for a malformed block ErrBlock.
func DecodeResponse(
	header []httpfield.Field, sent Sent, ended bool, limits httpfield.Limits, resp *stream.Response,
) (framed bool, err error) {
	f := readResponse(header)
	*resp = stream.Response{Metadata: resp.Metadata[:0]}
	if connector, limited := FromConnector(f.meta); connector {
		f.setError(resp, limited)
		return false, nil
	}
	if sent.Kind == TCP {
		if f.status != "200" {
			resp.Error = noDetails + ": status " + f.status
		}
		if f.tracing != "" {
			resp.Metadata = append(resp.Metadata, stream.Pair{Key: tracingKey, Val: f.tracing})
		}
		return false, nil
	}
	resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.KeyStatus, Val: f.status})
	if resp.Metadata, err = ParseBlock(resp.Metadata, f.block, stream.HeaderPrefix, limits); err != nil {
		return false, err
	}
	hasLength, hasUpgrade := scan(resp.Metadata)
	if sent.Kind == WebSocket && f.status == "200" && hasUpgrade {
		resp.Metadata[0].Val = switchingProtocols
		return false, nil
	}
	interim := f.status[0] == '1'
	if !hasLength && f.length != "" && !interim {
		resp.Metadata = append(resp.Metadata, stream.Pair{Key: contentLengthKey, Val: f.length})
		hasLength = true
	}
	if f.tracing != "" {
		resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.HeaderPrefix + tracingKey, Val: f.tracing})
	}
	if interim || !sent.frames || sent.Kind != HTTP {
		return false, nil
	}
	return announceBody(resp, ended, hasLength), nil
}

// setError makes resp the connector's own error.
func (f *responseFields) setError(resp *stream.Response, limited bool) {
	resp.Error = first(f.errText, noDetails)
	if limited {
		resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.KeyFlowLimited, Val: "true"})
	}
	if f.errStatus != "" {
		resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.KeyStatus, Val: f.errStatus})
	}
}

// announceBody says in the metadata that there is no body, or that it is framed because trailers may follow it.
func announceBody(resp *stream.Response, ended, hasLength bool) (framed bool) {
	switch {
	case ended:
		resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.KeyBody, Val: stream.BodyNone})
	case !hasLength:
		resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.KeyBody, Val: stream.BodyFrames})
		return true
	}
	return false
}

func scan(pairs []stream.Pair) (hasLength, hasUpgrade bool) {
	for i := range pairs {
		hasLength = hasLength || stream.IsHeader(pairs[i].Key, "Content-Length")
		hasUpgrade = hasUpgrade || stream.IsHeader(pairs[i].Key, "Upgrade")
	}
	return hasLength, hasUpgrade
}
