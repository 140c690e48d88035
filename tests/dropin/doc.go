// Package dropin is the suite that compares culvert with the stock connector that it replaces: one test per behaviour that a
// user, a wrapper or a dashboard relies on. It needs `make build` first and the build tag "dropin"; `make dropin` does both.
//
// A test calls each, which runs it with our binary, and with stock cloudflared as well when CULVERT_PEER_CLOUDFLARED has its
// path:
//
//	func TestReady(t *testing.T) {
//		e := harness.StartEdge(t)
//		each(t, func(t *testing.T, s subject) {
//			c := s.connect(t, e)                       // `tunnel ... run` with a token, four connections
//			status, body := c.get(t, "/ready")         // on its metrics listener
//			...
//			want := either(t, s, 0, 255, "why a user is better off with ours")
//		})
//	}
//
// Every expectation is the same for both, unless either says otherwise. The table of all such differences is printed at the end.
package dropin
