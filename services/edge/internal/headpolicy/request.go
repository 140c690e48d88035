package headpolicy

import (
	"strconv"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// Request is a visitor's request and what the edge knows about it.
type Request struct {
	Method, Host string
	// Header has canonical names.
	Header  map[string][]string
	Visitor Visitor
	Body    Body
	// WebSocket says that the request is the handshake of a WebSocket and has no body.
	WebSocket bool
	// Key replaces the visitor's key of the handshake when it is not empty.
	Key string
}

// Visitor is what the edge asserts about the visitor of a request.
type Visitor struct {
	// Addr is the visitor's address, Peer that of the other end of the connection: a trusted proxy, or the visitor.
	Addr, Peer string
	// Scheme is "http" or "https".
	Scheme string
	// Host is the host that the visitor asked for, if a trusted proxy has changed Host.
	Host string
	// Ray identifies the request.
	Ray string
	// Loop is the edge's own item of Cdn-Loop.
	Loop string
	// TrustedProxy says that Peer may send fields that origins trust.
	TrustedProxy bool
}

// Body is what a request states about its body.
type Body struct {
	// Length is -1 when it is not known.
	Length int64
	// Expect says that the connector decides whether the visitor is to send the body.
	Expect bool
	// Trailers names the trailers that follow, separated by commas.
	Trailers string
}

// AppendRequest appends the metadata of a ConnectRequest: method, host, what may pass of the header, and what the edge
// asserts. It fails with an error of httpfield.Limits when the result exceeds limits. cost is the decoded size of the
// fields, in bytes.
func AppendRequest(md []stream.Pair, r *Request, limits httpfield.Limits) (out []stream.Pair, cost int, err error) {
	md = append(md, stream.Pair{Key: stream.KeyMethod, Val: r.Method}, stream.Pair{Key: stream.KeyHost, Val: r.Host})
	first := len(md)
	named := r.Header[Connection]
	for name, values := range r.Header {
		known, ok := common[name]
		if !ok {
			known = rule{treatment: decide(name)}
		}
		if known.treatment == Drop || (known.treatment == Trusted && !r.Visitor.TrustedProxy) ||
			httpfield.IsNamed(named, name) || (r.Key != "" && name == ClientKey) {
			continue
		}
		if !ok {
			known.key = stream.HeaderPrefix + name
		}
		for _, val := range values {
			md = append(md, stream.Pair{Key: known.key, Val: val})
		}
	}
	md = appendBody(md, r)
	md = appendAssertions(md, r)
	cost, err = measure(md[first:], limits)
	return md, cost, err
}

// measure checks the header fields among metadata against limits.
func measure(md []stream.Pair, limits httpfield.Limits) (cost int, err error) {
	meter := limits.Meter()
	for i := range md {
		name, val := len(md[i].Key)-len(stream.HeaderPrefix), len(md[i].Val)
		if err := meter.Add(name, val); err != nil {
			return cost, err
		}
		cost += name + val + httpfield.FieldOverhead
	}
	return cost, nil
}

// appendAssertions appends what the edge states about the visitor and the way that the request took.
func appendAssertions(md []stream.Pair, r *Request) []stream.Pair {
	v := &r.Visitor
	host := v.Host
	if host == "" {
		host = r.Host
	}
	return append(md,
		stream.Pair{Key: stream.HeaderKey(ForwardedFor), Val: listWith(r.Header[ForwardedFor], v.Peer)},
		stream.Pair{Key: stream.HeaderKey(ForwardedProto), Val: v.Scheme},
		stream.Pair{Key: stream.HeaderKey(ForwardedHost), Val: host},
		stream.Pair{Key: stream.HeaderKey(ConnectingIP), Val: v.Addr},
		stream.Pair{Key: stream.HeaderKey(Loop), Val: listWith(r.Header[Loop], v.Loop)},
		stream.Pair{Key: stream.HeaderKey(Ray), Val: v.Ray},
	)
}

// listWith appends an item to a list that may have come in several lines.
func listWith(prior []string, item string) string {
	if len(prior) == 0 {
		return item
	}
	return strings.Join(prior, ", ") + ", " + item
}

// appendBody appends the fields that describe the body and the trailers.
func appendBody(md []stream.Pair, r *Request) []stream.Pair {
	b := &r.Body
	if b.Expect {
		md = append(md, stream.Pair{Key: stream.HeaderKey(Expect), Val: "100-continue"})
	}
	if b.Trailers != "" {
		md = append(md, stream.Pair{Key: stream.HeaderKey(Trailer), Val: b.Trailers})
	}
	if httpfield.ListHasToken(r.Header[TE], "trailers") {
		md = append(md, stream.Pair{Key: stream.HeaderKey(TE), Val: "trailers"})
	}
	switch {
	case r.WebSocket:
		if r.Key != "" {
			md = append(md, stream.Pair{Key: stream.HeaderKey(ClientKey), Val: r.Key})
		}
	case b.Length < 0:
		md = append(md, stream.Pair{Key: stream.HeaderKey(TransferCoding), Val: "chunked"})
	case b.Length > 0, r.Header[ContentLength] != nil:
		md = append(md, stream.Pair{Key: stream.HeaderKey(ContentLength), Val: strconv.FormatInt(b.Length, 10)})
	}
	return md
}

// Passes counts how often a request has passed this edge, by the edge's own item in Cdn-Loop (RFC 8586).
func Passes(header map[string][]string, item string) int {
	n := 0
	for _, list := range header[Loop] {
		for id := range httpfield.Items(list) {
			if id == item {
				n++
			}
		}
	}
	return n
}
