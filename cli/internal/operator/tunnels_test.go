package operator

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
)

func TestFilter(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	all := func() []adminclient.Tunnel {
		return []adminclient.Tunnel{
			{ID: tunnel.ID{2}, Name: "app-b", CreatedAt: day(1), Connections: 1},
			{ID: tunnel.ID{1}, Name: "web", CreatedAt: day(3)},
			{ID: tunnel.ID{3}, Name: "app-a", CreatedAt: day(2), Connections: 4},
		}
	}
	for name, tc := range map[string]struct {
		filter filter
		want   []string
	}{
		"all":             {filter{}, []string{"app-a", "app-b", "web"}},
		"id":              {filter{id: "01000000-0000-0000-0000-000000000000"}, []string{"web"}},
		"name":            {filter{name: "app-b"}, []string{"app-b"}},
		"prefix":          {filter{prefix: "app-"}, []string{"app-a", "app-b"}},
		"excluded prefix": {filter{notPrefix: "app-"}, []string{"web"}},
		"time":            {filter{at: day(2)}, []string{"app-a", "app-b"}},
		"by id":           {filter{sortBy: "id"}, []string{"web", "app-b", "app-a"}},
		"by time":         {filter{sortBy: "createdAt"}, []string{"app-b", "app-a", "web"}},
		"by connections":  {filter{sortBy: "numConnections", invert: true}, []string{"app-a", "app-b", "web"}},
	} {
		var got []string
		for _, tun := range tc.filter.apply(all()) {
			got = append(got, tun.Name)
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestConnectors(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	conn := func(tun, connector byte, since int64, state, remote string) adminclient.Connection {
		return adminclient.Connection{
			TunnelID: tunnel.ID{tun}, ConnectorID: tunnel.ConnectorID{connector}, Since: at(since), State: state, RemoteAddr: remote,
		}
	}
	got := connectors([]adminclient.Connection{
		conn(1, 2, 50, "active", "[2001:db8::1]:9"), conn(1, 1, 60, "active", "192.0.2.1:9"), conn(1, 1, 40, "active", "192.0.2.1:8"),
		conn(1, 3, 10, "evicted", "192.0.2.3:9"), conn(2, 4, 10, "active", "192.0.2.4:9"),
	}, tunnel.ID{1})
	if len(got) != 2 || got[0].ID != (tunnel.ConnectorID{1}) || !got[0].RunAt.Equal(at(40)) || len(got[0].Connections) != 2 {
		t.Fatalf("%+v", got)
	}
	if ip := got[1].Connections[0].OriginIP; ip != "2001:db8::1" {
		t.Errorf("origin %s", ip)
	}
}
