package rpc_test

import (
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
)

// recorder is a stream that records how it is ended.
type recorder struct {
	net.Conn
	mu    sync.Mutex
	calls []string
}

func (r *recorder) note(call string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, call)
}

func (r *recorder) CancelRead(uint64) { r.note("cancel read") }

func (r *recorder) CancelWrite(uint64) {
	r.note("cancel write")
	_ = r.Close() // ends the pending write
}

func (r *recorder) CloseWrite() error {
	r.note("close write")
	return nil
}

func (r *recorder) want(t *testing.T, calls ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.calls, calls) {
		t.Errorf("stream saw %q, want %q", r.calls, calls)
	}
}

func TestStreamConnClose(t *testing.T) {
	near, far := net.Pipe()
	defer func() { must(t, far.Close()) }()
	idle := &recorder{Conn: near}
	must(t, rpc.StreamConn(idle).Close())
	idle.want(t, "cancel read", "close write")
}

func TestStreamConnCloseDuringWrite(t *testing.T) {
	near, far := net.Pipe()
	defer func() { must(t, far.Close()) }()
	stuck := &recorder{Conn: near}
	conn := rpc.StreamConn(stuck)
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write([]byte("only the first byte of this is read"))
		written <- err
	}()
	_, err := far.Read(make([]byte, 1)) // the write is in progress now
	must(t, err)
	must(t, conn.Close())
	if err := <-written; err == nil {
		t.Error("Write: no error")
	}
	stuck.want(t, "cancel read", "cancel write")
}
