package mux

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// TestQuietConnectionStays: a connection without traffic stays open for hours, whichever of the two times is longer.
func TestQuietConnectionStays(t *testing.T) {
	for name, times := range map[string][2]time.Duration{
		"short timeout": {10 * time.Second, 5 * time.Second},
		"long timeout":  {5 * time.Second, 10 * time.Second},
		"equal":         {5 * time.Second, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				var ends []*Conn
				for role, nc := range map[Role]net.Conn{Client: a, Server: b} {
					cfg := testConfig(role, nil)
					cfg.PingAfter, cfg.PingTimeout = times[0], times[1]
					ends = append(ends, New(t.Context(), nc, cfg))
				}
				<-time.After(3 * time.Hour)
				for _, c := range ends {
					if err := context.Cause(c.Context()); err != nil {
						t.Errorf("after three quiet hours: %v", err)
					}
				}
				for _, c := range ends {
					c.Close(http2.ErrCodeNo, "")
				}
			})
		})
	}
}

// TestSilentPeer: a peer that responds to nothing is given up after the time-out of a PING, and later when it may still be reading.
func TestSilentPeer(t *testing.T) {
	for name, c := range map[string]struct {
		behind int64
		want   time.Duration
	}{
		"little was sent": {BusyBytes - 100, 6 * time.Second},
		"much was sent":   {BusyBytes + 1, 15 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				cfg := testConfig(Server, nil)
				cfg.PingAfter, cfg.PingTimeout, cfg.BusyTimeout = 3*time.Second, 3*time.Second, 12*time.Second
				began := time.Now()
				conn := New(t.Context(), near, cfg)
				conn.written.Store(c.behind)
				var reader sync.WaitGroup
				reader.Go(func() { _, _ = io.Copy(io.Discard, far) }) // until the connection ends
				<-conn.Context().Done()
				if got := time.Since(began); got != c.want {
					t.Errorf("ended after %v, want %v: %v", got, c.want, context.Cause(conn.Context()))
				}
				conn.Close(http2.ErrCodeNo, "")
				_ = far.Close()
				reader.Wait()
			})
		})
	}
}
