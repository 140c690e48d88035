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
	// maxPush bounds the body of a configuration, maxPushAnswer that of its answer.
	maxPush       = 4 << 20
	maxPushAnswer = 64 << 10
	// maxPushes bounds the configurations that are applied at a time.
	maxPushes = 4
)

// pushRequest is a configuration on the wire (docs/spec/wire.md 9.5).
type pushRequest struct {
	Version int32           `json:"version"`
	Config  json.RawMessage `json:"config"`
}

// pushAnswer says what came of it. Err is null, our own text, or any other value of a foreign connector.
type pushAnswer struct {
	Applied int32           `json:"lastAppliedVersion"`
	Err     json.RawMessage `json:"err"`
}

// startPush serves a configuration on a goroutine of its own.
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
	answer := pushAnswer{Err: json.RawMessage("null")}
	if answer.Applied, err = s.configure(st.Context(), req.Version, req.Config); err != nil {
		if answer.Err, err = json.Marshal(err.Error()); err != nil {
			return err
		}
	}
	out, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	if err := st.SendHead([]mux.Field{{Name: ":status", Value: "200"}}, false, false); err != nil {
		return err
	}
	_, err = st.Write(out, true)
	return err
}

// UpdateConfiguration pushes a configuration to the connector and says which version counts there now. It is for the
// edge's end. An error without a version means that the connector has not answered.
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
	answer, err := exchangePush(st, body)
	switch {
	case ctx.Err() != nil && err != nil:
		return 0, ctx.Err()
	case err != nil:
		return 0, fmt.Errorf("push configuration %d: %w", version, err)
	case len(answer.Err) > 0 && string(answer.Err) != "null":
		return answer.Applied, pushError(answer.Err)
	}
	return answer.Applied, nil
}

func exchangePush(st *mux.Stream, body []byte) (pushAnswer, error) {
	err := st.SendHead([]mux.Field{
		{Name: ":method", Value: "PUT"},
		{Name: ":scheme", Value: "http"},
		{Name: ":authority", Value: ServerName},
		{Name: ":path", Value: "/"},
		{Name: upgradeHeader, Value: h2head.UpgradeConfiguration},
	}, false, false)
	if err == nil {
		_, err = st.Write(body, true)
	}
	if err != nil {
		return pushAnswer{}, err
	}
	head, err := st.ReadHead()
	for err == nil && len(statusOf(head)) == 3 && statusOf(head)[0] == '1' {
		head, err = st.ReadHead()
	}
	if err != nil {
		return pushAnswer{}, err
	}
	if statusOf(head) != "200" {
		return pushAnswer{}, fmt.Errorf("%w: status %s", ErrPushRefused, statusOf(head))
	}
	out, err := io.ReadAll(io.LimitReader(st, maxPushAnswer))
	if err != nil {
		return pushAnswer{}, err
	}
	var answer pushAnswer
	if err := json.Unmarshal(out, &answer); err != nil {
		return pushAnswer{}, errors.Join(errPushAnswer, err)
	}
	return answer, nil
}

// pushError is a connector's error: a text of ours, or an object of which only the JSON is left.
func pushError(raw json.RawMessage) error {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = string(raw)
	}
	return fmt.Errorf("%w: %s", ErrPushRefused, text)
}
