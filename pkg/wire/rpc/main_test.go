package rpc_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	capnp "capnproto.org/go/capnp/v3"
	rpccp "capnproto.org/go/capnp/v3/std/capnp/rpc"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what would otherwise hang; no test depends on its length.
const patience = 20 * time.Second

type write struct {
	From    string `json:"from"`
	Hex     string `json:"hex"`
	Message string `json:"message"`
}

// recording is one recorded conversation.
type recording struct {
	Name   string `json:"name"`
	Client struct {
		Location        string `json:"location"`
		RemotelyManaged bool   `json:"remotely_managed"`
		UUID            string `json:"uuid"`
	} `json:"client_result"`
	ClientError      string `json:"client_error"`
	ClientErrorType  string `json:"client_error_type"`
	RetryAfter       int64  `json:"client_retry_after_ns"`
	UpdateLocalError string `json:"update_local_error"`
	Call             struct {
		Config    string        `json:"config"`
		Version   int32         `json:"version"`
		SessionID string        `json:"sessionId"`
		Message   string        `json:"message"`
		DstIP     string        `json:"dstIp_hex"`
		DstPort   uint16        `json:"dstPort"`
		Idle      time.Duration `json:"closeAfterIdleHint_ns"`
		Trace     string        `json:"traceContext"`
	} `json:"call"`
	Result struct {
		Err     string `json:"err"`
		Applied int32  `json:"latestAppliedVersion"`
		Spans   string `json:"spans_hex"`
	} `json:"result"`
	Writes []write `json:"writes"`
}

// messages gives the messages of one side, without a stream signature.
func (e recording) messages(t testing.TB, from string) [][]byte {
	t.Helper()
	var out [][]byte
	for _, w := range e.Writes {
		if w.From == from && w.Message != "rpc stream signature" {
			out = append(out, unhex(t, w.Hex))
		}
	}
	return out
}

func loadRecordings(t testing.TB, name string) []recording {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	must(t, err)
	var file struct {
		Vectors []recording `json:"vectors"`
	}
	must(t, json.Unmarshal(b, &file))
	if len(file.Vectors) == 0 {
		t.Fatalf("%s holds no vectors", name)
	}
	return file.Vectors
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	must(t, err)
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pair gives two connected ends that buffer as a network does.
func pair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { must(t, l.Close()) }()
	var d net.Dialer
	a, err = d.DialContext(t.Context(), "tcp", l.Addr().String())
	must(t, err)
	b, err = l.Accept()
	must(t, err)
	deadline := time.Now().Add(patience)
	must(t, a.SetDeadline(deadline))
	must(t, b.SetDeadline(deadline))
	t.Cleanup(func() {
		_ = a.Close() // usually closed already by what was tested
		_ = b.Close()
	})
	return a, b
}

// peer is the far end of a connection under test, played message by message.
type peer struct {
	t    testing.TB
	conn net.Conn
	in   *capnp.Decoder
}

func newPeer(t testing.TB, conn net.Conn) *peer {
	return &peer{t: t, conn: conn, in: capnp.NewDecoder(conn)}
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	_, err := p.conn.Write(b)
	must(p.t, err)
}

// encode builds one message.
func encode(t testing.TB, build func(m rpccp.Message)) []byte {
	t.Helper()
	msg, seg, err := capnp.NewMessage(capnp.SingleSegment(nil))
	must(t, err)
	m, err := rpccp.NewRootMessage(seg)
	must(t, err)
	build(m)
	b, err := msg.Marshal()
	must(t, err)
	return b
}

// next reads one message; ok is false at the end of the stream.
func (p *peer) next() (m rpccp.Message, ok bool) {
	p.t.Helper()
	msg, err := p.in.Decode()
	if errors.Is(err, io.EOF) {
		return rpccp.Message{}, false
	}
	must(p.t, err)
	m, err = rpccp.ReadRootMessage(msg)
	must(p.t, err)
	return m, true
}

// wantReturn reads the next message, which must be a return.
func (p *peer) wantReturn() rpccp.Return {
	p.t.Helper()
	m, ok := p.next()
	if !ok || m.Which() != rpccp.Message_Which_return {
		p.t.Fatalf("message of kind %v (end of stream: %v), want a return", m.Which(), !ok)
	}
	ret, err := m.Return()
	must(p.t, err)
	return ret
}
