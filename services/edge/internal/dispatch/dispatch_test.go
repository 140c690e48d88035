package dispatch_test

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/culvert-tunnel/culvert/pkg/transport/mem"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge/internal/dispatch"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

// table makes a table with n connections of one tunnel.
func table(t *testing.T, n int) *registry.Table {
	t.Helper()
	out := registry.NewTable()
	for i := range n {
		near, _ := mem.Pair(t.Context())
		c := registry.NewConn(registry.Info{Slot: tunnel.Slot{Tunnel: tunnel.ID{1}, Index: tunnel.ConnIndex(i)}}, near)
		if err := out.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestSend(t *testing.T) {
	t.Parallel()
	retry, final := &dispatch.Failure{Kind: dispatch.Lost, Retry: true}, &dispatch.Failure{Kind: dispatch.Timeout}
	for name, c := range map[string]struct {
		conns    int
		attempts []*dispatch.Failure
		want     dispatch.Kind // with ok false
		ok       bool
		retries  float64
	}{
		"no connection":           {0, nil, dispatch.NoConnection, false, 0},
		"success":                 {2, []*dispatch.Failure{nil}, 0, true, 0},
		"success after a retry":   {2, []*dispatch.Failure{retry, nil}, 0, true, 1},
		"no other connection":     {1, []*dispatch.Failure{retry}, dispatch.Lost, false, 0},
		"not to be sent again":    {2, []*dispatch.Failure{final}, dispatch.Timeout, false, 0},
		"as often as is allowed":  {3, []*dispatch.Failure{retry, retry, retry}, dispatch.Lost, false, 2},
		"the last failure counts": {3, []*dispatch.Failure{retry, final}, dispatch.Timeout, false, 1},
	} {
		retries := prometheus.NewCounter(prometheus.CounterOpts{Name: "retries_total", Help: "Retries."})
		conns := table(t, c.conns)
		var tried []*registry.Conn
		conn, f := dispatch.NewSender(conns, retries).Send(t.Context(), tunnel.ID{1}, func(conn *registry.Conn) *dispatch.Failure {
			if conn.InFlight() != 1 {
				t.Errorf("%s: %d in flight during an attempt", name, conn.InFlight())
			}
			tried = append(tried, conn)
			return c.attempts[len(tried)-1]
		})
		if (f == nil) != c.ok || (f != nil && f.Kind != c.want) || len(tried) != len(c.attempts) || testutil.ToFloat64(retries) != c.retries {
			t.Errorf("%s: %+v after %d attempts", name, f, len(tried))
		}
		if len(tried) > 0 && conn != tried[len(tried)-1] {
			t.Errorf("%s: the connection is not that of the last attempt", name)
		}
		for i := 1; i < len(tried); i++ {
			if tried[i] == tried[i-1] {
				t.Errorf("%s: attempt %d used the connection that had failed", name, i)
			}
		}
		if c.ok {
			conn.Release()
		}
		for _, k := range conns.List() {
			if k.InFlight() != 0 {
				t.Errorf("%s: %d in flight afterwards", name, k.InFlight())
			}
		}
	}
}

func TestSendWithoutAttempt(t *testing.T) {
	t.Parallel()
	retries := prometheus.NewCounter(prometheus.CounterOpts{Name: "retries_total", Help: "Retries."})
	never := func(*registry.Conn) *dispatch.Failure { t.Error("an attempt was made"); return nil }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, f := dispatch.NewSender(table(t, 1), retries).Send(ctx, tunnel.ID{1}, never); f == nil || f.Kind != dispatch.Canceled {
		t.Errorf("after the visitor left: %+v", f)
	}
	full := table(t, 1)
	for range dispatch.MaxInFlight {
		full.Pick(tunnel.ID{1}, nil)
	}
	if _, f := dispatch.NewSender(full, retries).Send(t.Context(), tunnel.ID{1}, never); f == nil || f.Kind != dispatch.Busy {
		t.Errorf("with a full connection: %+v", f)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	pair := func(key, val string) []stream.Pair { return []stream.Pair{{Key: key, Val: val}} }
	for name, c := range map[string]struct {
		got, want *dispatch.Failure
	}{
		"response": {dispatch.RefusalOf(&stream.Response{Metadata: pair(stream.KeyStatus, "503")}, false), nil},
		"error":    {dispatch.RefusalOf(&stream.Response{Error: "x"}, false), &dispatch.Failure{Kind: dispatch.Refused, Detail: "x"}},
		"unavailable": {
			dispatch.RefusalOf(&stream.Response{Error: "x", Metadata: pair(stream.KeyStatus, "503")}, false),
			&dispatch.Failure{Kind: dispatch.Refused, Status: "503", Detail: "x", Retry: true},
		},
		"after a body": {
			dispatch.RefusalOf(&stream.Response{Error: "x", Metadata: pair(stream.KeyStatus, "503")}, true),
			&dispatch.Failure{Kind: dispatch.Refused, Status: "503", Detail: "x"},
		},
		"too large": {
			dispatch.RefusalOf(&stream.Response{Error: "x", Metadata: pair(stream.KeyStatus, "431")}, false),
			&dispatch.Failure{Kind: dispatch.Refused, Status: "431", Detail: "x"},
		},
		"full connector": {
			dispatch.RefusalOf(&stream.Response{Error: "x", Metadata: pair(stream.KeyFlowLimited, "true")}, false),
			&dispatch.Failure{Kind: dispatch.FlowLimited, Detail: "x", Retry: true},
		},
		"deadline": {
			dispatch.NoResponse(os.ErrDeadlineExceeded, true),
			&dispatch.Failure{Kind: dispatch.Timeout, Detail: os.ErrDeadlineExceeded.Error()},
		},
		"lost and repeatable": {
			dispatch.NoResponse(&tunnel.ConnError{}, true),
			&dispatch.Failure{Kind: dispatch.Lost, Detail: (&tunnel.ConnError{}).Error(), Retry: true},
		},
		"lost, not repeatable": {
			dispatch.NoResponse(&tunnel.ConnError{}, false),
			&dispatch.Failure{Kind: dispatch.Lost, Detail: (&tunnel.ConnError{}).Error()},
		},
		"malformed": {
			dispatch.NoResponse(io.ErrUnexpectedEOF, true),
			&dispatch.Failure{Kind: dispatch.Malformed, Detail: io.ErrUnexpectedEOF.Error()},
		},
	} {
		if (c.got == nil) != (c.want == nil) || (c.got != nil && *c.got != *c.want) {
			t.Errorf("%s: %+v, want %+v", name, c.got, c.want)
		}
	}
}

// TestReadHead: heads are read in pieces of any size, one behind the other.
func TestReadHead(t *testing.T) {
	t.Parallel()
	var wire []byte
	for _, status := range []string{"103", "200"} {
		resp := stream.Response{Metadata: []stream.Pair{
			{Key: stream.KeyStatus, Val: status}, {Key: stream.HeaderKey("A"), Val: string(make([]byte, 5000))},
		}}
		var err error
		if wire, err = resp.Append(wire); err != nil {
			t.Fatal(err)
		}
	}
	wire = append(wire, "body"...)
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader,
		"with its end": iotest.DataErrReader,
	} {
		r := wrap(&chunks{wire})
		buf := make([]byte, 1024)
		var in dispatch.Input
		var resp stream.Response
		for _, want := range []string{"103", "200"} {
			var err error
			if in, err = dispatch.ReadHead(r, buf, in, &resp); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got, _ := stream.Lookup(resp.Metadata, stream.KeyStatus); got != want {
				t.Errorf("%s: status %s, want %s", name, got, want)
			}
		}
		rest := slices.Clone(in.Bytes)
		if !in.Ended {
			more, err := io.ReadAll(r)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			rest = append(rest, more...)
		}
		if string(rest) != "body" {
			t.Errorf("%s: %q behind the heads", name, rest)
		}
	}
	var resp stream.Response
	if _, err := dispatch.ReadHead(&chunks{wire[:100]}, nil, dispatch.Input{}, &resp); !errors.Is(err, dispatch.ErrResponse) {
		t.Errorf("a part of a head: %v", err)
	}
	if _, err := dispatch.ReadHead(&chunks{[]byte("garbage garbage")}, nil, dispatch.Input{}, &resp); !errors.Is(err, dispatch.ErrResponse) {
		t.Errorf("no head: %v", err)
	}
}

// chunks reads without the methods that bytes.Reader has besides.
type chunks struct{ left []byte }

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.left)
	c.left = c.left[n:]
	return n, nil
}
