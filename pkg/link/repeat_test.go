package link_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/frame"
	"github.com/culvert-tunnel/culvert/pkg/link/linktest"
)

// response is the result of one flow.
type response struct {
	body    string
	readErr error
	err     error
}

// begin starts a flow and gives a channel with its response. With lateFIN the edge's FIN comes after the first bytes.
func begin(t *testing.T, c link.Carrier, m link.Meta, first string, lateFIN bool) <-chan response {
	t.Helper()
	v, e := linktest.NewVisitor()
	if lateFIN {
		v.CloseWrite()
	}
	result := make(chan response, 1)
	read := make(chan response, 1)
	go func() {
		b, err := io.ReadAll(v)
		read <- response{body: string(b), readErr: err}
	}()
	go func() {
		err := c.Carry(t.Context(), link.Flow{Meta: m, Stream: e, First: []byte(first), EOF: !lateFIN})
		if errors.Is(err, link.ErrNotAccepted) {
			e.CancelWrite(0)
		}
		r := <-read
		r.err = err
		result <- r
	}()
	return result
}

// TestKilledProxyCostsNoSafeRequest: SIGKILL of a proxy that has requests but has not responded. The safe ones are served by
// the other proxy, the unsafe ones are lost.
func TestKilledProxyCostsNoSafeRequest(t *testing.T) {
	t.Parallel()
	const safe, unsafe = 16, 4
	first, victim := spawn(t, unixEndpoint(t))
	second, _ := spawn(t, unixEndpoint(t))
	c := balancer(t, nil, first)
	var served, lost []<-chan response
	for i := range safe {
		served = append(served, begin(t, c, link.Meta{}, safeRequest, i%2 == 1))
	}
	for range unsafe {
		lost = append(lost, begin(t, c, link.Meta{}, unsafeRequest, false))
	}
	for range safe + unsafe {
		victim.expect(t, "held")
	}
	c.SetProxies([]link.Proxy{{ID: "p", Endpoint: first}, {ID: "q", Endpoint: second}})
	if err := victim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for i, ch := range served {
		if r := <-ch; r.body != "repeated" || r.err != nil {
			t.Errorf("safe request %d: %+v", i, r)
		}
	}
	for _, ch := range lost {
		if r := <-ch; !errors.Is(r.err, link.ErrLost) || !errors.Is(r.readErr, linktest.ErrReset) || r.body != "" {
			t.Errorf("unsafe request: %+v, want ErrLost and a reset", r)
		}
	}
}

// TestConditionsOfRepeat: a flow is repeated once, and only if the whole request is known and nothing of the response came.
func TestConditionsOfRepeat(t *testing.T) {
	t.Parallel()
	die := func(net.Conn, uint32) {}
	half := func(c net.Conn, id uint32) { _, _ = c.Write(frame.AppendData(nil, id, nil, false)) }
	tests := map[string]struct {
		meta    link.Meta
		partial bool // the request goes on after the first bytes
		proxy   func(c net.Conn, id uint32)
		old     bool // the second proxy does not announce that it checks repeats
		again   bool // the second proxy is lost as well
		repeats int32
	}{
		"whole request":            {proxy: die, repeats: 1},
		"request goes on":          {proxy: die, partial: true},
		"response began":           {proxy: half},
		"configuration":            {proxy: die, meta: link.Meta{Kind: link.KindConfig}},
		"datagrams":                {proxy: die, meta: link.Meta{Kind: link.KindDatagrams}},
		"second proxy is older":    {proxy: die, old: true},
		"second proxy is lost too": {proxy: die, again: true, repeats: 1},
	}
	for title, tt := range tests {
		t.Run(title, func(t *testing.T) {
			reached, release := make(chan struct{}), make(chan struct{})
			victim := fakeProxy(t, func(c net.Conn, id uint32) {
				close(reached)
				<-release
				tt.proxy(c, id)
			})
			var calls, repeats atomic.Int32
			count := func(m link.Meta) {
				calls.Add(1)
				if m.Repeat {
					repeats.Add(1)
				}
			}
			var second link.Endpoint
			switch {
			case tt.again:
				second = fakeProxy(t, func(net.Conn, uint32) { count(link.Meta{Repeat: true}) })
			case tt.old:
				second = (&countingListener{}).serve(t, unixEndpoint(t), link.HandlerFunc(func(_ context.Context, m link.Meta, _ link.Stream) {
					count(m)
				}))
			default:
				second = serve(t, unixEndpoint(t), nil, link.ServerConfig{Handler: link.HandlerFunc(
					func(ctx context.Context, m link.Meta, s link.Stream) {
						count(m)
						name("second").ServeStream(ctx, m, s)
					})})
			}
			c := balancer(t, nil, victim)
			v, e := linktest.NewVisitor()
			done := make(chan error, 1)
			go func() {
				done <- c.Carry(t.Context(), link.Flow{Meta: tt.meta, Stream: e, First: []byte("q"), EOF: !tt.partial})
			}()
			<-reached
			c.SetProxies([]link.Proxy{{ID: "p", Endpoint: victim}, {ID: "q", Endpoint: second}})
			close(release)
			body, readErr := io.ReadAll(v)
			err := <-done
			if tt.repeats == 1 && !tt.again {
				if string(body) != "second" || err != nil {
					t.Errorf("response = %q, Carry = %v", body, err)
				}
			} else if !errors.Is(readErr, linktest.ErrReset) || !errors.Is(err, link.ErrLost) {
				t.Errorf("response ended with %v, Carry = %v, want a reset and ErrLost", readErr, err)
			}
			if calls.Load() != tt.repeats || repeats.Load() != tt.repeats {
				t.Errorf("second proxy had %d flows, %d marked as repeat, want %d", calls.Load(), repeats.Load(), tt.repeats)
			}
		})
	}
}
