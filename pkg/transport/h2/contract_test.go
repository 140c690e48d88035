package h2_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/transporttest"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// TestContract: bytes are free on a stream once it is a TCP stream.
func TestContract(t *testing.T) {
	want := stream.Request{Dest: "192.0.2.1:22", Type: stream.TCP, Metadata: []stream.Pair{{Key: stream.KeyClient, Val: "198.51.100.7:1234"}}}
	write := func(s transport.Stream, m interface {
		Append(dst []byte) ([]byte, error)
	},
	) error {
		b, err := m.Append(nil)
		if err == nil {
			_, err = s.Write(b)
		}
		return err
	}
	greeting := &transporttest.Greeting{
		Request: func(s transport.Stream) error { return write(s, &want) },
		Respond: func(s transport.Stream) error {
			got, rest, err := readRequest(s)
			if d := cmp.Diff(want, got); err == nil && (d != "" || len(rest) > 0) {
				return errors.New("request: " + d)
			}
			return errors.Join(err, write(s, &stream.Response{}))
		},
		ReadResponse: func(s transport.Stream) error {
			got, rest, err := readResponse(s)
			if err == nil && (got.Error != "" || len(got.Metadata) > 0 || len(rest) > 0) {
				return errors.New("unexpected response")
			}
			return err
		},
	}
	transporttest.RunLimited(t, func(t *testing.T) (transport.Session, transport.Session) {
		connector, edge := sessions(t, nil)
		control(t, connector, edge)
		return connector, edge
	}, transporttest.Limits{
		OpenedByAccepter: true, WholeReset: true, SilentStop: true, NoDatagrams: true, Greeting: greeting,
	})
}
