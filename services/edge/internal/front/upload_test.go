package front

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/mem"
	"github.com/culvert-tunnel/culvert/services/edge/internal/visitorconn"
)

// deadlines is a response writer that records the bounds of reads.
type deadlines struct {
	http.ResponseWriter
	mu  sync.Mutex
	set []time.Time
}

func (*deadlines) EnableFullDuplex() error { return nil }

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set = append(d.set, t)
	return nil
}

// slowEnd is a stream whose FIN is sent and does not return yet.
type slowEnd struct {
	transport.Stream
	sent, release chan struct{}
}

func (s *slowEnd) CloseWrite() error {
	close(s.sent)
	<-s.release
	return s.Stream.CloseWrite()
}

// White box: the connector's response to a whole body may be complete before the upload has returned from its last call.
// No bound of reads may stay then, for the visitor's next request comes on the same connection.
func TestStopAfterTheWholeBody(t *testing.T) {
	t.Parallel()
	near, far := mem.Pair(context.Background())
	t.Cleanup(func() { _ = near.CloseWithError(0, ""); _ = far.CloseWithError(0, "") })
	st, err := near.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slow := &slowEnd{Stream: st, sent: make(chan struct{}), release: make(chan struct{})}
	w := &deadlines{}
	rt := &roundTrip{
		front: &Front{}, w: visitorconn.ResponseWriter{ResponseWriter: w},
		r: httptest.NewRequest(http.MethodPost, "/", strings.NewReader("body")),
	}
	rt.front.buffers.New = newBuffer
	u := rt.startUpload(slow)
	u.responded(slow, false)
	<-slow.sent
	stopped := make(chan struct{})
	go func() { defer close(stopped); u.stop() }()
	testkit.Eventually(t, "the upload is stopping", func() bool { return u.get(func() bool { return u.stopping }) })
	close(slow.release)
	<-stopped
	w.mu.Lock()
	defer w.mu.Unlock()
	if bounded := slices.ContainsFunc(w.set, func(d time.Time) bool { return !d.IsZero() }); bounded {
		t.Errorf("reads were bounded by %v", w.set)
	}
}
