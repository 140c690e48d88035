package balance

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
)

// maxProbeBody is how much of the body of a check's response is read.
const maxProbeBody = 64 << 10

// probe checks an origin once. It uses the client of the origin's requests, and so the same settings.
func probe(ctx context.Context, o *origin.Origin, c *ingress.Check) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	if c.Type == ingress.CheckTCP || o.Kind == origin.KindStream {
		return probeTCP(ctx, o)
	}
	if c.Type == ingress.CheckGRPC {
		return probeGRPC(ctx, o, c)
	}
	return probeHTTP(ctx, o, c)
}

func probeTCP(ctx context.Context, o *origin.Origin) error {
	var conn net.Conn
	var err error
	if o.Kind == origin.KindStream {
		var to string
		if to, err = o.Stream.Destination(""); err == nil {
			conn, err = o.Stream.Dial(ctx, to)
		}
	} else {
		conn, err = o.HTTP.Dial(ctx)
	}
	if err != nil {
		return err
	}
	return conn.Close()
}

// request makes the request of a check.
func request(ctx context.Context, o *origin.Origin, method, path, host string, body []byte) (*http.Request, error) {
	scheme, target, err := o.Target(host)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(scheme + "://" + target + path)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		req.Body = http.NoBody
	}
	req.Header.Set("User-Agent", "culvert-health-check")
	req.Host = host
	if host == "" {
		req.Host = o.HostHeader
	}
	return req, nil
}

func probeHTTP(ctx context.Context, o *origin.Origin, c *ingress.Check) error {
	req, err := request(ctx, o, http.MethodGet, c.Path, c.Host, nil)
	if err != nil {
		return err
	}
	res, err := o.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // read as far as it is wanted
	if !c.Status.Has(res.StatusCode) {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxProbeBody))
	if err != nil && c.Body != "" {
		return err
	}
	if !bytes.Contains(text, []byte(c.Body)) {
		return errors.New("the body lacks the text that is expected")
	}
	return nil
}

const (
	healthMethod = "/grpc.health.v1.Health/Check"
	frameHead    = 5    // flags and length before each message of gRPC
	nameTag      = 0x0a // field 1 of HealthCheckRequest, a text
	statusTag    = 0x08 // field 1 of HealthCheckResponse, a number
	serving      = 1
	maxName      = 127 // length of a name that fits into one byte
)

// healthRequest is a framed HealthCheckRequest.
func healthRequest(name string) []byte {
	message := []byte{}
	if name != "" {
		message = append([]byte{nameTag, byte(len(name))}, name...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...) //nolint:gosec // short
}

// isServing reads a framed HealthCheckResponse.
func isServing(b []byte) bool {
	if len(b) < frameHead || b[0] != 0 || int(binary.BigEndian.Uint32(b[1:])) != len(b)-frameHead {
		return false
	}
	m := b[frameHead:]
	return len(m) >= 2 && m[0] == statusTag && m[1] == serving
}

// probeGRPC asks the standard health service.
func probeGRPC(ctx context.Context, o *origin.Origin, c *ingress.Check) error {
	if len(c.Name) > maxName {
		return errors.New("name of the service is too long")
	}
	req, err := request(ctx, o, http.MethodPost, healthMethod, c.Host, healthRequest(c.Name))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	res, err := o.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // read to its end, or not wanted
	body, err := io.ReadAll(io.LimitReader(res.Body, maxProbeBody))
	if err != nil {
		return err
	}
	code := res.Trailer.Get("Grpc-Status")
	if code == "" {
		code = res.Header.Get("Grpc-Status") // a response of trailers alone
	}
	if res.StatusCode != http.StatusOK || code != "0" {
		return fmt.Errorf("status %d, gRPC status %q", res.StatusCode, code)
	}
	if !isServing(body) {
		return errors.New("the service is not serving")
	}
	return nil
}
