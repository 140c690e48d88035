package rpc_test

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
)

// script is a peer that sends fixed bytes and reads everything.
type script struct{ *bytes.Reader }

func (script) Write(b []byte) (int, error) { return len(b), nil }
func (script) Close() error                { return nil }

func joined(t testing.TB, e recording, from string) []byte {
	t.Helper()
	return bytes.Join(e.messages(t, from), nil)
}

func FuzzServeRegistration(f *testing.F) {
	for _, e := range loadRecordings(f, "rpc_registration") {
		f.Add(joined(f, e, "connector"))
	}
	f.Add(bytes.Join([][]byte{bootstrap(f, 0), unregister(f, 1, toAnswer(f, 0, 0)), unregister(f, 2, toAnswer(f, 2, 0))}, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = rpc.ServeRegistration(t.Context(), script{bytes.NewReader(b)}, welcoming()) // the test only checks that it returns
	})
}

func FuzzServeConnector(f *testing.F) {
	for _, name := range []string{"rpc_update_configuration", "rpc_udp_session_v2"} {
		for _, e := range loadRecordings(f, name) {
			f.Add(joined(f, e, "edge"))
		}
	}
	handler := connector(func(_ context.Context, u remoteconfig.Update) (int32, error) { return u.Version, nil })
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = rpc.ServeConnector(t.Context(), script{bytes.NewReader(b)}, handler) // the test only checks that it returns
	})
}

// FuzzClient responds to the calls of a client with arbitrary bytes.
func FuzzClient(f *testing.F) {
	for _, e := range loadRecordings(f, "rpc_registration") {
		f.Add(joined(f, e, "edge"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		client := rpc.NewRegistrationClient(newLateScript(b))
		_, _ = client.Register(t.Context(), recordedRequest(t)) // the test only checks that it returns
		_ = client.Unregister(t.Context())
		_ = client.Close()
	})
}

// lateScript is a script whose bytes come after two messages were written to it: bootstrap and call.
type lateScript struct {
	script
	written chan struct{} // one element per message
	asked   sync.Once
	closed  chan struct{}
}

func newLateScript(b []byte) *lateScript {
	const plenty = 64
	return &lateScript{script: script{bytes.NewReader(b)}, written: make(chan struct{}, plenty), closed: make(chan struct{})}
}

func (l *lateScript) Write(b []byte) (int, error) {
	select {
	case l.written <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (l *lateScript) Read(b []byte) (int, error) {
	l.asked.Do(func() {
		for range 2 {
			select {
			case <-l.written:
			case <-l.closed:
			}
		}
	})
	return l.script.Read(b)
}

func (l *lateScript) Close() error {
	close(l.closed)
	return nil
}

func FuzzServeSessionEnds(f *testing.F) {
	for _, e := range loadRecordings(f, "rpc_udp_session_v2") {
		f.Add(joined(f, e, e.Writes[0].From))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = rpc.ServeSessionEnds(t.Context(), script{bytes.NewReader(b)}, func(context.Context, [16]byte, string) error { return nil })
	})
}
