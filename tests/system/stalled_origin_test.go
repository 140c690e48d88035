//go:build system

package system_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// TestOriginThatReadsNothing uploads to an origin that reads nothing, which fills the flow control window that all
// requests of a connection share. Other requests must still be served.
func TestOriginThatReadsNothing(t *testing.T) {
	for _, protocol := range []string{"quic", "http2"} {
		t.Run(protocol, func(t *testing.T) {
			const uploads, size = 60, 8 << 20
			ctx, cancel := context.WithCancel(t.Context())
			var reached sync.WaitGroup
			reached.Add(uploads)
			origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/stall" {
					reached.Done()
					<-ctx.Done()
					return
				}
				_, _ = io.Copy(w, pattern(1000, 1)) // a visitor who left
			}))
			t.Cleanup(origin.Close)
			e := harness.StartEdge(t)
			harness.Start(t, []string{"TUNNEL_TOKEN=" + e.Token}, harness.Binary(t, "culvert"), e.ConnectorCommand(protocol, origin.URL)...)
			testkit.Retry(t, "4 connections", patience, func() error {
				if n := e.Connections(t); n != 4 {
					return fmt.Errorf("%d connections", n)
				}
				return nil
			})
			var uploading sync.WaitGroup
			for range uploads {
				uploading.Go(func() {
					req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL+"/stall", pattern(size, 1))
					if err != nil {
						t.Error(err)
						return
					}
					req.ContentLength = size
					if resp, err := http.DefaultClient.Do(req); err == nil { // it fails at the end of the test
						_ = resp.Body.Close()
					}
				})
			}
			defer uploading.Wait()
			defer cancel()
			reached.Wait()
			limit := time.Now().Add(3 * time.Second)
			for n := 0; time.Now().Before(limit); n++ { // the uploads fill what they can meanwhile
				if err := honestGet(ctx, e.URL+"/"); err != nil {
					t.Fatalf("request %d while uploads stand still: %v", n, err)
				}
			}
		})
	}
}
