package mux

import (
	"context"
	"net"
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
