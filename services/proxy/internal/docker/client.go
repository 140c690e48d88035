package docker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/docker/label"
)

const (
	// maxList bounds the list of containers, in bytes: some 10,000 of the usual size.
	maxList = 32 << 20
	// maxContainers bounds the containers of one engine.
	maxContainers = 10_000
	// listWithin bounds the reading of the list, and dialWithin a connection.
	listWithin = 10 * time.Second
	dialWithin = 5 * time.Second
	// maxReason is how much of a refusal is shown, in bytes.
	maxReason = 300
)

// eventFilter names those after which the list may be another one.
const eventFilter = `{"type":["container","network"],` +
	`"event":["start","die","pause","unpause","health_status","rename","destroy","connect","disconnect"]}`

// engine is the API of a Docker Engine. Without a version in its paths the engine responds in its newest one.
type engine struct {
	base   string
	client *http.Client
}

// newEngine makes a client and connects to nothing.
func newEngine(cfg Config) (*engine, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", errors.Unwrap(err)) // the whole text may hold a password
	}
	transport := &http.Transport{MaxIdleConns: 2, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10}
	dialer := &net.Dialer{Timeout: dialWithin, KeepAlive: 15 * time.Second}
	transport.DialContext = dialer.DialContext
	e := &engine{client: &http.Client{Transport: transport, CheckRedirect: noRedirect}}
	switch u.Scheme {
	case "unix":
		if u.Host != "" || u.Path == "" {
			return nil, fmt.Errorf("endpoint: %q is not unix:///PATH", cfg.Endpoint)
		}
		e.base = "http://docker"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", u.Path)
		}
	case "tcp", "http":
		e.base = "http://" + u.Host
		if cfg.TLSDir != "" {
			e.base = "https://" + u.Host
		}
	case "https":
		e.base = "https://" + u.Host
	default:
		return nil, fmt.Errorf("endpoint: %q is none of unix:///PATH, tcp://HOST:PORT, https://HOST:PORT", u.Redacted())
	}
	if u.Scheme != "unix" && (u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "") {
		return nil, fmt.Errorf("endpoint: %q has another form than %s://HOST:PORT", u.Redacted(), u.Scheme)
	}
	if cfg.TLSDir != "" {
		if transport.TLSClientConfig, err = readTLS(cfg.TLSDir); err != nil {
			return nil, fmt.Errorf("tls_dir: %w", err)
		}
	}
	return e, nil
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// readTLS reads ca.pem, cert.pem and key.pem, the names that Docker's own client uses.
func readTLS(dir string) (*tls.Config, error) {
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !conf.RootCAs.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", filepath.Join(dir, "ca.pem"))
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if errors.Is(err, os.ErrNotExist) {
		return conf, nil // the engine may demand none
	}
	conf.Certificates = []tls.Certificate{pair}
	return conf, err
}

func (e *engine) close() { e.client.CloseIdleConnections() }

// get asks for path, and gives the body of a response with status 200.
func (e *engine) get(ctx context.Context, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.base+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := e.client.Do(req)
	if err != nil {
		var fault *url.Error
		if errors.As(err, &fault) {
			err = fault.Err // the URL says nothing to an operator
		}
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxReason)) // what can be read of the reason
	_ = resp.Body.Close()                                       // only read
	name, _, _ := strings.Cut(path, "?")
	return nil, fmt.Errorf("the engine refuses %s: %s: %.300q", name, resp.Status, strings.TrimSpace(string(text)))
}

// list reads the containers that run.
func (e *engine) list(ctx context.Context) ([]label.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	body, err := e.get(ctx, "/containers/json")
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	defer func() { _ = body.Close() }() // only read
	all, err := readList(io.LimitReader(body, maxList+1))
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	return all, nil
}

// watch reads events until the stream ends. It calls opened when the stream stands, and changed after each piece of it: what an event says
// does not count, as the list is read again.
func (e *engine) watch(ctx context.Context, opened, changed func()) error {
	body, err := e.get(ctx, "/events?filters="+url.QueryEscape(eventFilter))
	if err != nil {
		return fmt.Errorf("watch containers: %w", err)
	}
	defer func() { _ = body.Close() }() // only read
	opened()
	piece := make([]byte, 4<<10)
	for {
		n, err := body.Read(piece)
		if n > 0 {
			changed()
		}
		if err != nil {
			return fmt.Errorf("watch containers: %w", err)
		}
	}
}

// listed is a container as the API lists it; what is not used is not read.
type listed struct {
	ID         string            `json:"Id"`
	Names      []string          `json:"Names"`
	Created    int64             `json:"Created"`
	State      string            `json:"State"`
	Status     string            `json:"Status"`
	Labels     map[string]string `json:"Labels"`
	HostConfig struct {
		NetworkMode string `json:"NetworkMode"`
	} `json:"HostConfig"`
	Ports []struct {
		IP          string `json:"IP"`
		PrivatePort uint16 `json:"PrivatePort"`
		PublicPort  uint16 `json:"PublicPort"`
		Type        string `json:"Type"`
	} `json:"Ports"`
	NetworkSettings struct {
		Networks map[string]*struct {
			IPAddress         string `json:"IPAddress"`
			GlobalIPv6Address string `json:"GlobalIPv6Address"`
		} `json:"Networks"`
	} `json:"NetworkSettings"`
}

// readList reads the list element by element, so that only one is in memory as text.
func readList(r io.Reader) ([]label.Container, error) {
	d := json.NewDecoder(r)
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return nil, fmt.Errorf("the response is no list (%v, %w)", t, err)
	}
	var all []label.Container
	for d.More() {
		if len(all) == maxContainers {
			return nil, fmt.Errorf("there are more than %d", maxContainers)
		}
		var c listed
		if err := d.Decode(&c); err != nil {
			return nil, fmt.Errorf("the list has more than %d bytes or is broken off: %w", maxList, err)
		}
		all = append(all, c.container())
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("the list is broken off: %w", err)
	}
	return all, nil
}

func (c *listed) container() label.Container {
	out := label.Container{
		ID: c.ID, Created: c.Created, State: state(c.State, c.Status), Mode: c.HostConfig.NetworkMode, Labels: map[string]string{},
	}
	for _, name := range c.Names { // others are "/other/alias", of links
		if name = strings.TrimPrefix(name, "/"); out.Name == "" || !strings.Contains(name, "/") {
			out.Name = name
		}
	}
	if out.Name == "" {
		out.Name = fmt.Sprintf("%.12s", c.ID)
	}
	for name, text := range c.Labels {
		if label.Wanted(name) {
			out.Labels[name] = text
		}
	}
	for _, p := range c.Ports {
		if p.Type != "tcp" && p.Type != "" {
			continue
		}
		ip, _ := netip.ParseAddr(p.IP) // the zero one for a port that is not published
		out.Ports = append(out.Ports, label.Port{Private: p.PrivatePort, Public: p.PublicPort, HostIP: ip})
	}
	for name, n := range c.NetworkSettings.Networks {
		if n == nil {
			continue
		}
		addr, err := netip.ParseAddr(n.IPAddress)
		if err != nil {
			addr, _ = netip.ParseAddr(n.GlobalIPv6Address) // the zero one for neither
		}
		out.Networks = append(out.Networks, label.Network{Name: name, Addr: addr})
	}
	return out
}

// state tells whether a container serves. The list has the result of the health check only as a part of a text, such as
// "Up 2 minutes (healthy)".
func state(state, status string) label.State {
	switch {
	case state == "paused" || strings.Contains(status, "(Paused)"):
		return label.Paused
	case state != "running" && state != "":
		return label.Down
	case strings.Contains(status, "(health: starting)") || strings.HasSuffix(status, "(starting)"):
		return label.Starting
	case strings.Contains(status, "(unhealthy)"):
		return label.Unhealthy
	}
	return label.Serving
}
