package live

import (
	"context"
	"errors"
	"io"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
)

var errTooLarge = errors.New("configuration is too large")

// ServeStream reads a configuration push from the link (link.KindConfig) and writes the result.
func (s *State) ServeStream(ctx context.Context, m link.Meta, st link.Stream) {
	result, err := s.serve(ctx, m, st)
	if err != nil {
		st.Abort() // without a response the worker knows no result
		return
	}
	if _, err := st.Write(result.Append(nil)); err != nil {
		st.Abort()
		return
	}
	_ = st.CloseWrite() // a failure means that the worker is gone
}

func (s *State) serve(ctx context.Context, m link.Meta, st link.Stream) (remoteconfig.Result, error) {
	b, err := io.ReadAll(io.LimitReader(st, remoteconfig.MaxUpdate+1))
	if err != nil {
		return remoteconfig.Result{}, err
	}
	if len(b) > remoteconfig.MaxUpdate {
		version, _ := s.Version(m.Tunnel)
		return remoteconfig.Result{Applied: version, Rejection: errTooLarge.Error()}, nil
	}
	u, err := remoteconfig.ParseUpdate(b)
	if err != nil {
		return remoteconfig.Result{}, err
	}
	u.Tunnel = m.Tunnel
	applied, err := s.Apply(ctx, u)
	result, known := remoteconfig.ResultOf(applied, err)
	if !known {
		return remoteconfig.Result{}, err
	}
	return result, nil
}
