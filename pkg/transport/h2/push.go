package h2

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/net/http2"

	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
)

const (
	// maxPush bounds the body of a configuration push, maxPushResponse that of the response.
	maxPush         = 4 << 20
	maxPushResponse = 64 << 10
	// maxPushes bounds the configurations that are applied at the same time.
	maxPushes = 4
)

// pushRequest is the body of a configuration push (docs/spec/wire.md 9.5).
type pushRequest struct {
	Version int32           `json:"version"`
	Config  json.RawMessage `json:"config"`
}

// pushResponse is the body of the response. Err is null, a text from a connector of ours, or any JSON value from another one.
type pushResponse struct {
	Applied int32           `json:"lastAppliedVersion"`
	Err     json.RawMessage `json:"err"`
}

// startPush handles a configuration push on a goroutine of its own.
func (s *Session) startPush(st *mux.Stream) {
	select {
	case s.pushSlots <- struct{}{}:
	default:
		st.Reset(http2.ErrCodeEnhanceYourCalm)
		return
	}
	s.pushes.Go(func() {
		defer func() { <-s.pushSlots }()
		if err := s.servePush(st); err != nil {
			st.Reset(mux.Internal)
		}
	})
}

func (s *Session) servePush(st *mux.Stream) error {
	body, err := io.ReadAll(io.LimitReader(st, maxPush+1))
	if err != nil {
		return err
	}
	st.CancelRead()
	var req pushRequest
	if len(body) > maxPush || json.Unmarshal(body, &req) != nil || s.configure == nil {
		return st.SendHead([]mux.Field{
			{Name: ":status", Value: "502"}, {Name: h2head.Meta, Value: h2head.MetaConnector},
		}, false, true)
	}
	response := pushResponse{Err: json.RawMessage("null")}
	if response.Applied, err = s.configure(st.Context(), req.Version, req.Config); err != nil {
		if response.Err, err = json.Marshal(err.Error()); err != nil {
			return err
		}
	}
	out, err := json.Marshal(response)
	if err != nil {
		return err
	}
	if err := st.SendHead([]mux.Field{{Name: ":status", Value: "200"}}, false, false); err != nil {
		return err
	}
	_, err = st.Write(out, true)
	return err
}

// UpdateConfiguration pushes a configuration to the connector and gives the version that is in force there afterwards. Only
// the edge's end may call it. The error is ErrPushRefused when the connector did not apply the configuration; with any other error
// the connector has not responded.
func (s *Session) UpdateConfiguration(ctx context.Context, version int32, config []byte) (applied int32, err error) {
	if s.role != mux.Client {
		return 0, errNotEdge
	}
	body, err := json.Marshal(pushRequest{Version: version, Config: config})
	if err != nil {
		return 0, fmt.Errorf("configuration: %w", err)
	}
	st, err := s.conn.Open(ctx)
	if err != nil {
		return 0, err
	}
	defer st.Reset(mux.Cancelled)
	unwatch := context.AfterFunc(ctx, func() { st.Reset(mux.Cancelled) })
	defer unwatch()
	response, err := exchangePush(st, body)
	switch {
	case ctx.Err() != nil && err != nil:
		return 0, ctx.Err()
	case err != nil:
		return 0, fmt.Errorf("push configuration %d: %w", version, err)
	case len(response.Err) > 0 && string(response.Err) != "null":
		return response.Applied, pushError(response.Err)
	}
	return response.Applied, nil
}

func exchangePush(st *mux.Stream, body []byte) (pushResponse, error) {
	err := st.SendHead([]mux.Field{
		{Name: ":method", Value: "PUT"},
		{Name: ":scheme", Value: "http"},
		{Name: ":authority", Value: ServerName},
		{Name: ":path", Value: "/"},
		{Name: h2head.Upgrade, Value: h2head.UpgradeConfiguration},
	}, false, false)
	if err == nil {
		_, err = st.Write(body, true)
	}
	if err != nil {
		return pushResponse{}, err
	}
	head, err := st.ReadHead()
	for err == nil && len(h2head.StatusOf(head)) == 3 && h2head.StatusOf(head)[0] == '1' {
		head, err = st.ReadHead()
	}
	if err != nil {
		return pushResponse{}, err
	}
	if h2head.StatusOf(head) != "200" {
		return pushResponse{}, fmt.Errorf("%w: status %s", ErrPushRefused, h2head.StatusOf(head))
	}
	out, err := io.ReadAll(io.LimitReader(st, maxPushResponse))
	if err != nil {
		return pushResponse{}, err
	}
	var response pushResponse
	if err := json.Unmarshal(out, &response); err != nil {
		return pushResponse{}, errors.Join(errPushResponse, err)
	}
	return response, nil
}

// pushError makes an error of the connector's: its text, or the JSON of any other value.
func pushError(raw json.RawMessage) error {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = string(raw)
	}
	return fmt.Errorf("%w: %s", ErrPushRefused, text)
}
