package tail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/culvert-tunnel/culvert/pkg/management"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	// maxMessage bounds a message of a connector, in bytes: a line may have all headers of a request.
	maxMessage = 4 << 20
	// dialTimeout bounds the handshake.
	dialTimeout = 15 * time.Second
	// sendTimeout bounds the writing of a message.
	sendTimeout = 5 * time.Second
	// statusNoConnector is an edge's response when no connector can be reached.
	statusNoConnector = 530
)

// Target says where to ask for lines.
type Target struct {
	// Edge is the address of an edge, as http(s)://host:port; "" is the management host itself, over TLS.
	Edge string
	// Host is the management host.
	Host  string
	Token string
	// Connector is the id of one connector of the tunnel, or "".
	Connector string
	// Roots verify the certificate of the edge; nil are the system's.
	Roots *x509.CertPool
	// Agent and Trace are the headers User-Agent and Cf-Trace-Id of the request; "" sends none.
	Agent, Trace string
}

// address makes the URL of the request and its Host.
func (t *Target) address() (address, host string, err error) {
	claims, err := management.ReadToken(t.Token)
	if err != nil {
		return "", "", fmt.Errorf("the access token cannot be read: %w", err)
	}
	if host = t.Host; claims.Fed() {
		host = management.FedHost
	}
	u := &url.URL{Scheme: "wss", Host: host}
	if t.Edge != "" {
		if u, err = url.Parse(t.Edge); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return "", "", fmt.Errorf("address %q of the edge is not http(s)://HOST:PORT", t.Edge)
		}
		u.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	}
	query := url.Values{management.TokenParameter: {t.Token}}
	if t.Connector != "" {
		id, err := tunnel.ParseConnectorID(t.Connector)
		if err != nil {
			return "", "", fmt.Errorf("--connector-id: %w", err)
		}
		query.Set(management.ConnectorParameter, id.String())
	}
	u.Path, u.RawQuery = management.PathLogs, query.Encode()
	return u.String(), host, nil
}

// Run prints lines until ctx ends or the connector ends the stream. The end by ctx, and one in order by the connector, are no error.
func Run(ctx context.Context, t Target, filters management.Filters, format Format, out io.Writer) error {
	conn, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseNow() }() // it has been closed in order, or cannot be
	start, err := json.Marshal(management.Request{Type: management.TypeStart, Filters: &filters})
	if err != nil {
		return err
	}
	// Writing or reading with ctx would break the connection at its end; the hook closes it in order, which ends the reading.
	if err := send(context.WithoutCancel(ctx), conn, start); err != nil {
		return fmt.Errorf("log stream: %w", err)
	}
	unhook := context.AfterFunc(ctx, func() { _ = conn.Close(websocket.StatusNormalClosure, "") })
	defer unhook()
	for {
		_, text, err := conn.Read(context.WithoutCancel(ctx))
		if err != nil {
			return endOf(ctx, err)
		}
		m, err := management.ParseLogs(text)
		if err != nil {
			continue // an event of another version
		}
		if err := format.write(out, m); err != nil {
			return err
		}
	}
}

// send writes a text message.
func send(ctx context.Context, conn *websocket.Conn, text []byte) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	return conn.Write(ctx, websocket.MessageText, text)
}

// endOf is the error for the end of a stream.
func endOf(ctx context.Context, err error) error {
	var closed websocket.CloseError
	switch {
	case ctx.Err() != nil:
		return nil //nolint:nilerr // the reader wanted this end
	case !errors.As(err, &closed):
		return fmt.Errorf("log stream: %w", err)
	case closed.Code == websocket.StatusNormalClosure && closed.Reason == "":
		return nil
	case closed.Code == websocket.StatusNormalClosure:
		return errors.New("log stream ended: another stream of the same actor replaced it, or the connector stops")
	case closed.Code == management.CloseLimit:
		return fmt.Errorf("received remote closure: (%d) %s: somebody else streams the logs of this connector", closed.Code, closed.Reason)
	}
	return fmt.Errorf("received remote closure: (%d) %s", closed.Code, closed.Reason)
}

// dial opens the websocket.
func (t *Target) dial(ctx context.Context) (*websocket.Conn, error) {
	address, host, err := t.address()
	if err != nil {
		return nil, err
	}
	header := make(http.Header)
	if t.Agent != "" {
		header.Set("User-Agent", t.Agent)
	}
	if t.Trace != "" {
		header.Set("Cf-Trace-Id", t.Trace)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, resp, err := websocket.Dial( //nolint:bodyclose // the library gives a body that holds what was read of it
		ctx, address, &websocket.DialOptions{
			HTTPClient: &http.Client{Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: t.Roots},
			}},
			HTTPHeader: header, Host: host,
		})
	switch {
	case err == nil:
		conn.SetReadLimit(maxMessage)
		return conn, nil
	case resp != nil:
		return nil, refusal(resp)
	}
	return nil, fmt.Errorf("no log stream from %s: %w", host, withoutURL(err))
}

// withoutURL is an error of the client without the URL, which has the token.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// refusal is the error for a response that opens no stream.
func refusal(resp *http.Response) error {
	if resp.StatusCode == statusNoConnector {
		return errors.New("no connector of this tunnel can be reached; streaming logs needs a recent version of the connector")
	}
	var problem struct {
		Errors []struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	var b []byte
	if resp.Body != nil {
		b, _ = io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // what can be read of it counts
	}
	if json.Unmarshal(b, &problem) != nil || len(problem.Errors) == 0 {
		return fmt.Errorf("no log stream: status %d", resp.StatusCode)
	}
	first := problem.Errors[0]
	return fmt.Errorf("management request failed validation: (%d) %s", first.Code, first.Message)
}
