package h2_test

import (
	"context"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// TestReasonOfALoss: a connector tells an edge that closed the connection from one whose port is closed, where another attempt would
// be in vain.
func TestReasonOfALoss(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lose func(relay *testkit.Relay, edge *h2.Session)
		want tunnel.Reason
	}{
		"the process is gone":         {func(relay *testkit.Relay, _ *h2.Session) { relay.Close() }, tunnel.ReasonClosed},
		"the edge closed the session": {func(_ *testkit.Relay, edge *h2.Session) { _ = edge.CloseWithError(0, "") }, tunnel.ReasonPeerClosed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, pool := listen(t, h2.ServerName, h2.EdgeSettings())
			relay := testkit.NewRelay(t, l.Addr())
			near, err := h2.Dial(t.Context(), h2.DialConfig{
				Edge: relay.Addr, TLS: h2.ClientTLS(pool, false), Settings: h2.ConnectorSettings(),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = near.CloseWithError(0, "") }()
			far, err := l.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = far.CloseWithError(0, "") }()
			c.lose(relay, far)
			testkit.Receive(t, "the end of the session", near.Context().Done())
			if err := context.Cause(near.Context()); tunnel.ReasonOf(err) != c.want {
				t.Errorf("the session ended with %v, want reason %s", err, c.want)
			}
		})
	}
}
