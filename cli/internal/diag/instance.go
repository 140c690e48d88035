package diag

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// requestTimeout bounds each request, maxBody its response in bytes.
	requestTimeout = 15 * time.Second
	maxBody        = 16 << 20
)

// The endpoints of a metrics listener (docs/spec/lifecycle.md 10.2).
const (
	pathTunnel        = "/diag/tunnel"
	pathConfiguration = "/diag/configuration"
	pathSystem        = "/diag/system"
	pathGoroutine     = "/debug/pprof/goroutine"
	pathHeap          = "/debug/pprof/heap"
	pathMetrics       = "/metrics"
	pathRules         = "/config"
)

// Instance is a connector that was found on this host.
type Instance struct {
	// URL is the address of its metrics listener.
	URL         string
	TunnelID    string
	ConnectorID string
}

// tunnelState is what this package reads of /diag/tunnel.
type tunnelState struct {
	TunnelID    string `json:"tunnelID"`
	ConnectorID string `json:"connectorID"`
	Connections []struct {
		EdgeAddress string `json:"edgeAddress"`
	} `json:"connections"`
}

var errNoInstance = errors.New("the response is not that of a connector")

// listener is the metrics listener of one connector.
type listener struct {
	base   *url.URL
	client *http.Client
}

// newListener reads the address of a listener, with or without a scheme. One that is open to all hosts is asked on the loopback.
func newListener(address string) (*listener, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	base, err := url.Parse(address)
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("metrics address %q is not HOST:PORT", address)
	}
	if ip := net.ParseIP(base.Hostname()); base.Hostname() == "" || ip != nil && ip.IsUnspecified() {
		base.Host = net.JoinHostPort("127.0.0.1", base.Port())
	}
	return &listener{base: base, client: &http.Client{
		Timeout:       requestTimeout,
		Transport:     &http.Transport{DisableKeepAlives: true}, // no proxy: the listener is on this host
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// get is the body of a response with status 200.
func (l *listener) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.base.JoinPath(path).String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json;version=1")
	resp, err := l.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("response of %s: %w", path, err)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("response of %s: status %s", path, resp.Status)
	case len(body) > maxBody:
		return nil, fmt.Errorf("response of %s is larger than %d bytes", path, maxBody)
	}
	return body, nil
}

// instance asks the listener which connector it belongs to.
func (l *listener) instance(ctx context.Context) (Instance, error) {
	body, err := l.get(ctx, pathTunnel)
	if err != nil {
		return Instance{}, err
	}
	var st tunnelState
	if err := json.Unmarshal(body, &st); err != nil || st.TunnelID == "" && st.ConnectorID == "" {
		return Instance{}, errors.Join(errNoInstance, err)
	}
	return Instance{URL: l.base.String(), TunnelID: st.TunnelID, ConnectorID: st.ConnectorID}, nil
}

// Find asks all addresses at the same time and lists the connectors that responded, in the order of the addresses.
func Find(ctx context.Context, addresses []string) []Instance {
	found := make([]*Instance, len(addresses))
	var wg sync.WaitGroup
	for i, a := range addresses {
		wg.Go(func() {
			l, err := newListener(a)
			if err != nil {
				return
			}
			if in, err := l.instance(ctx); err == nil {
				found[i] = &in
			}
		})
	}
	wg.Wait()
	var all []Instance
	for _, in := range found {
		if in != nil {
			all = append(all, *in)
		}
	}
	return all
}
