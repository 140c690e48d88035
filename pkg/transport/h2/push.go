package h2

import (
	"context"
	"fmt"
	"io"

	"golang.org/x/net/http2"

	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/transport/h2/internal/mux"
	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
)

const (
	// maxUpdate and maxResult bound the bodies of a configuration push and of its response.
	maxUpdate = 4 << 20
	maxResult = 64 << 10
	// maxPushes bounds the configurations that are applied at a time.
	maxPushes = 4
)

// Applier puts pushed configurations in force.
type Applier interface {
	// Apply returns the version in force afterwards (docs/spec/wire.md 9.5). The edge gets the reason of a
	// *remoteconfig.RejectedError as part of the response; any other error resets the stream. The update names no tunnel,
	// the session does.
	Apply(ctx context.Context, u remoteconfig.Update) (applied int32, err error)
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
	body, err := io.ReadAll(io.LimitReader(st, maxUpdate+1))
	if err != nil {
		return err
	}
	st.CancelRead()
	u, err := remoteconfig.UnmarshalUpdate(body)
	if err != nil || len(body) > maxUpdate || s.applier == nil {
		return st.SendHead([]mux.Field{
			{Name: ":status", Value: "502"}, {Name: h2head.Meta, Value: h2head.MetaConnector},
		}, false, true)
	}
	applied, err := s.applier.Apply(st.Context(), u)
	result, known := remoteconfig.ResultOf(applied, err)
	if !known {
		return err
	}
	out, err := remoteconfig.MarshalResult(result)
	if err != nil {
		return err
	}
	if err := st.SendHead([]mux.Field{{Name: ":status", Value: "200"}}, false, false); err != nil {
		return err
	}
	_, err = st.Write(out, true)
	return err
}

// Apply pushes a configuration to the connector and returns the version in force there afterwards. Only the edge's end of a
// session can push. The error is a *remoteconfig.RejectedError when the connector did not apply the update; after any other
// error the result is unknown.
func (s *Session) Apply(ctx context.Context, u remoteconfig.Update) (applied int32, err error) {
	if s.role != mux.Client {
		return 0, errNotEdge
	}
	body, err := remoteconfig.MarshalUpdate(u)
	if err != nil {
		return 0, err
	}
	st, err := s.conn.Open(ctx)
	if err != nil {
		return 0, err
	}
	defer st.Reset(mux.Cancelled)
	unwatch := context.AfterFunc(ctx, func() { st.Reset(mux.Cancelled) })
	defer unwatch()
	result, err := push(st, body)
	switch {
	case ctx.Err() != nil && err != nil:
		return 0, ctx.Err()
	case err != nil:
		return 0, fmt.Errorf("push configuration %d: %w", u.Version, err)
	}
	return result.Unpack(u.Version)
}

func push(st *mux.Stream, body []byte) (remoteconfig.Result, error) {
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
		return remoteconfig.Result{}, err
	}
	head, err := st.ReadHead()
	for err == nil && len(h2head.StatusOf(head)) == 3 && h2head.StatusOf(head)[0] == '1' {
		head, err = st.ReadHead()
	}
	if err != nil {
		return remoteconfig.Result{}, err
	}
	if h2head.StatusOf(head) != "200" {
		return remoteconfig.Result{}, &remoteconfig.RejectedError{Reason: "status " + h2head.StatusOf(head)}
	}
	out, err := io.ReadAll(io.LimitReader(st, maxResult))
	if err != nil {
		return remoteconfig.Result{}, err
	}
	return remoteconfig.UnmarshalResult(out)
}
