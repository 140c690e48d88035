package opsclient_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/opsclient"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// supervisor stands for a supervisor in the examples.
func supervisor() *httptest.Server {
	reply := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(v) }
	}
	m := http.NewServeMux()
	m.HandleFunc("GET /v1/status", reply(opsapi.Status{
		Health: opsapi.Degraded, Connected: 7, Desired: 8, Reasons: []string{"1 tunnels with fewer connections than desired"},
	}))
	m.HandleFunc("GET /v1/tunnels", func(w http.ResponseWriter, r *http.Request) {
		page := opsapi.Tunnels{Items: []opsapi.Tunnel{{ID: tunnel.ID{2}, Health: opsapi.Degraded, Connected: 3, Desired: 4}}}
		if r.URL.Query().Get("cursor") == "" {
			page.Items = []opsapi.Tunnel{{ID: tunnel.ID{1}, Health: opsapi.Up, Connected: 4, Desired: 4}}
			page.NextCursor = opsapi.Cursor(tunnel.ID{1}.String())
		}
		reply(page)(w, r)
	})
	m.HandleFunc("GET /v1/events/stream", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Last-Event-ID") != "5-0" {
			http.Error(w, "not expected", http.StatusBadRequest)
			return
		}
		_, _ = fmt.Fprint(w, "retry: 1000\n\n: still here\n\nid: 6-0\nevent: worker.joined\n"+
			`data: {"id":"6-0","kind":"worker.joined","worker_id":"w1"}`+"\n\n")
	})
	return httptest.NewServer(m)
}

func ExampleClient_Status() {
	server := supervisor()
	defer server.Close()
	c, err := opsclient.Dial(server.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	status, err := c.Status(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s: %d of %d connections\n", status.Health, status.Connected, status.Desired)
	for _, reason := range status.Reasons {
		fmt.Println("-", reason)
	}
	// Output:
	// degraded: 7 of 8 connections
	// - 1 tunnels with fewer connections than desired
}

func ExampleClient_Tunnels() {
	server := supervisor()
	defer server.Close()
	c, err := opsclient.Dial(server.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	for cursor := ""; ; {
		page, err := c.Tunnels(context.Background(), cursor)
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, t := range page.Items {
			fmt.Println(t.ID, t.Health)
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	// Output:
	// 01000000-0000-0000-0000-000000000000 up
	// 02000000-0000-0000-0000-000000000000 degraded
}

func ExampleClient_Follow() {
	server := supervisor()
	defer server.Close()
	c, err := opsclient.Dial(server.URL, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(context.Background())
	err = c.Follow(ctx, "5-0", func(e opsapi.Event) error {
		fmt.Println(e.Kind, e.Worker)
		cancel()
		return nil
	})
	fmt.Println(err)
	// Output:
	// worker.joined w1
	// context canceled
}
