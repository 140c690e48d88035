package service

import (
	"context"
	"fmt"
	"html"
	"net"
	"net/http"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/pkg/ops"
)

const (
	helloPage = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Culvert demo origin</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:4em auto;padding:0 1em}code{background:#eee;padding:.1em .3em}</style>
</head><body><h1>It works</h1>
<p>This page comes from a private origin, through a tunnel. The origin has no port open to the outside.</p>
<p>You asked for <code>%s %s</code> on host <code>%s</code>.</p></body></html>
`
	helloReadTimeout = 10 * time.Second
)

// Hello is a demo origin as a process of its own, for deployments whose proxy runs elsewhere.
func Hello(c console.Console) *urfave.Command {
	return &urfave.Command{
		Name: "hello", Usage: "serve a demo page, as an origin to try tunnels with", OnUsageError: console.UsageError,
		Flags: []urfave.Flag{&urfave.StringFlag{Name: "listen", Value: "127.0.0.1:8000", Usage: "`ADDRESS` to serve on"}},
		Action: func(ctx *urfave.Context) error {
			var lc net.ListenConfig
			ln, err := lc.Listen(ctx.Context, "tcp", ctx.String("listen"))
			if err != nil {
				return fmt.Errorf("demo origin: %w", err)
			}
			c.Println("Demo origin: http://" + ln.Addr().String())
			return serveHello(ctx.Context, ln)
		},
	}
}

func serveHello(ctx context.Context, ln net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_health", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "OK") })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, helloPage, html.EscapeString(r.Method), html.EscapeString(r.URL.Path),
			html.EscapeString(r.Host)) // the visitor may be gone
	})
	return ops.Serve(ctx, "demo origin", &http.Server{Handler: mux, ReadHeaderTimeout: helloReadTimeout}, ln)
}
