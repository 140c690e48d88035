package harness

import (
	"context"
	"io"
	"strconv"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// Request sends a GET request for url to a connector, as its edge does. It returns the body of the response, or the error that the
// connector responded with.
func Request(ctx context.Context, session transport.Session, url string) (body, refusal string, err error) {
	st, err := session.OpenStream(ctx)
	if err != nil {
		return "", "", err
	}
	req := stream.Request{Dest: url, Metadata: []stream.Pair{{Key: stream.KeyMethod, Val: "GET"}}}
	b, err := req.Append(nil)
	if err != nil {
		return "", "", err
	}
	if _, err := st.Write(b); err != nil {
		return "", "", err
	}
	if err := st.CloseWrite(); err != nil {
		return "", "", err
	}
	response, err := io.ReadAll(st)
	if err != nil {
		return "", "", err
	}
	var resp stream.Response
	used, err := stream.ParseResponse(response, &resp)
	if err != nil || resp.Error != "" {
		return "", resp.Error, err
	}
	return string(response[used:]), "", nil
}

// EpochOf returns the epoch that a connector announces among its features, or 0.
func EpochOf(features []string) (tunnel.Epoch, error) {
	for _, f := range features {
		if v, ok := strings.CutPrefix(f, "culvert_epoch="); ok {
			n, err := strconv.ParseUint(v, 10, 64)
			return tunnel.Epoch(n), err
		}
	}
	return 0, nil
}
