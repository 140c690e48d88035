package h2head

import (
	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// DecodeTrailers turns the trailers of HTTP/2 into those of the stream form. The reader decides which of them it passes on.
func DecodeTrailers(fields []httpfield.Field) []stream.Pair {
	pairs := make([]stream.Pair, 0, len(fields))
	for i := range fields {
		pairs = append(pairs, stream.Pair{Key: httpfield.Canonical(fields[i].Name), Val: fields[i].Value})
	}
	return pairs
}

// EncodeTrailers turns trailers of the stream form into those of HTTP/2. Malformed ones and those that HTTP/2 forbids are
// dropped.
func EncodeTrailers(pairs []stream.Pair) []httpfield.Field {
	fields := make([]httpfield.Field, 0, len(pairs))
	for _, p := range pairs {
		name := httpfield.Lower(p.Key)
		if !httpfield.IsToken(name) || !httpfield.IsValue(p.Val) || staysOffWire(name) {
			continue
		}
		fields = append(fields, httpfield.Field{Name: name, Value: p.Val})
	}
	return fields
}
