package access

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

const (
	// dialTimeout bounds the handshake of one websocket.
	dialTimeout = 30 * time.Second
	// lingering is how long the far side may go on sending when the near one has ended: a websocket cannot be closed on one side only.
	lingering = 5 * time.Second
	// maxMessage is the largest message in bytes: connectors of the reference lose the rest of a larger one (docs/spec/lifecycle.md 11.5).
	maxMessage = 16 << 10
)

// carrier opens websockets to one application.
type carrier struct {
	url    *url.URL
	host   string // of the Host header, when it differs from the URL's
	header http.Header
	client *http.Client
	logger *slog.Logger
}

// newCarrier connects like other programs of the host: through its HTTP proxy, and with its roots. A serverName turns verification off.
func newCarrier(u *url.URL, host string, header http.Header, serverName string, logger *slog.Logger) *carrier {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if serverName != "" {
		conf.ServerName, conf.InsecureSkipVerify = serverName, true //nolint:gosec // --connect-to asks for it
	}
	return &carrier{url: u, host: host, header: header, logger: logger, client: &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// dial opens a websocket as a stream of bytes in binary messages, which ends with ctx.
func (c *carrier) dial(ctx context.Context) (net.Conn, error) {
	bounded, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	options := &websocket.DialOptions{HTTPClient: c.client, HTTPHeader: c.header, Host: c.host}
	conn, resp, err := websocket.Dial(bounded, c.url.String(), options) //nolint:bodyclose // the library closes the body
	if err != nil {
		return nil, refusal(err, resp)
	}
	conn.SetReadLimit(-1)
	return websocket.NetConn(ctx, conn, websocket.MessageBinary), nil
}

// refusal says what the response means for the user.
func refusal(err error, resp *http.Response) error {
	switch {
	case resp == nil:
		return err
	case strings.Contains(resp.Header.Get("Location"), "/cdn-cgi/access/login"):
		return errors.New("the application asks for a login with Cloudflare Access: give --service-token-id and --service-token-secret, or the " +
			"token of `cloudflared access token` in --header 'cf-access-token: TOKEN'")
	case resp.StatusCode != http.StatusSwitchingProtocols:
		return fmt.Errorf("the application responded with status %s instead of a websocket", resp.Status)
	default:
		return err
	}
}

// stream carries bytes between a websocket and r and w, until the far side ends or the near side has ended for a while.
func (c *carrier) stream(ctx context.Context, r io.Reader, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // the far side may be gone
	received := make(chan error, 1)
	go func() {
		_, err := io.Copy(w, conn)
		received <- err
	}()
	sent := make(chan error, 1)
	go func() {
		// Nothing but Read and Write is used, so that the buffer bounds the messages.
		_, err := io.CopyBuffer(struct{ io.Writer }{conn}, struct{ io.Reader }{r}, make([]byte, maxMessage))
		sent <- err
	}()
	select {
	case err = <-received:
	case err = <-sent:
		if err == nil {
			bound := time.NewTimer(lingering)
			defer bound.Stop()
			select {
			case err = <-received:
			case <-bound.C:
			case <-ctx.Done():
			}
		}
	}
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// listen carries every connection to addr until ctx ends.
func (c *carrier) listen(ctx context.Context, addr string) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("failed to start forwarding server: %w", err)
	}
	c.logger.InfoContext(ctx, "listener of access opened", slog.String(logkey.Host, ln.Addr().String()))
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() }) // ends Accept
	defer stop()
	var streams sync.WaitGroup
	defer streams.Wait()
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		streams.Go(func() { c.serve(ctx, conn) })
	}
}

func (c *carrier) serve(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends Read and Write
	defer stop()
	defer func() { _ = conn.Close() }() // nothing is left to say
	if err := c.stream(ctx, conn, conn); err != nil {
		c.logger.ErrorContext(ctx, "application not reached", slog.String(logkey.URL, c.url.String()), slog.Any(logkey.Err, err))
	}
}
