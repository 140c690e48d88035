package ops

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	// maxResponse bounds the body of a response.
	maxResponse = 64 << 20
	// socketHost is the host name in requests over a Unix socket; it is not resolved.
	socketHost = "culvert.internal"
)

// Client calls a JSON API of this project. Error responses are of type *Problem.
type Client struct {
	api   string // name of the API in errors
	base  string
	token tunnel.Secret
	http  *http.Client
}

// Dial makes a client for address: "unix:/path", a plain path, or "http(s)://host:port", with a bearer token unless that is empty. It
// connects with the first call. Nil roots are those of the system. api names the API in errors.
func Dial(api, address string, token tunnel.Secret, roots *x509.CertPool) (*Client, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if ok || strings.HasPrefix(address, "/") || strings.HasPrefix(address, ".") {
		var d net.Dialer
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) }
		return newClient(api, "http://"+socketHost, token, &http.Transport{DialContext: dial}), nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("%s address: %w", api, err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("%s address %q is neither unix:/path nor http(s)://host:port", api, address)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	return newClient(api, u.Scheme+"://"+u.Host, token, &http.Transport{TLSClientConfig: conf}), nil
}

func newClient(api, base string, token tunnel.Secret, transport *http.Transport) *Client {
	return &Client{api: api, base: base, token: token, http: &http.Client{Transport: transport}}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Call sends in as JSON, unless it is nil, and reads the response into out, unless that is nil.
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s request: %w", c.api, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return fmt.Errorf("%s request: %w", c.api, err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if len(c.token) > 0 {
		req.Header.Set("Authorization", "Bearer "+string([]byte(c.token)))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s call: %w", c.api, err)
	}
	defer func() { _ = resp.Body.Close() }() // the body was read; an error of Close changes nothing
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	if err != nil {
		return fmt.Errorf("%s response: %w", c.api, err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return problem(resp, b)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%s response: %w", c.api, err)
	}
	return nil
}

// Stream opens a response without an end, such as server-sent events. The caller closes it.
func (c *Client) Stream(ctx context.Context, path string, header http.Header) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("%s request: %w", c.api, err)
	}
	req.Header = header.Clone()
	if len(c.token) > 0 {
		req.Header.Set("Authorization", "Bearer "+string([]byte(c.token)))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s call: %w", c.api, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer func() { _ = resp.Body.Close() }() // the body was read; an error of Close changes nothing
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	if err != nil {
		return nil, fmt.Errorf("%s response: %w", c.api, err)
	}
	return nil, problem(resp, b)
}

func problem(resp *http.Response, body []byte) error {
	p := &Problem{}
	if err := json.Unmarshal(body, p); err != nil || p.Status == 0 {
		p = &Problem{Title: resp.Status, Status: resp.StatusCode}
	}
	return p
}
