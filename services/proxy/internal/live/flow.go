package live

import (
	"context"
	"errors"
	"io"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/push"
)

var errTooLarge = errors.New("configuration is too large")

// ServeStream takes a push over the link (link.KindConfig) and answers it.
func (s *State) ServeStream(ctx context.Context, m link.Meta, st link.Stream) {
	answer, err := s.serve(ctx, m, st)
	if err != nil {
		st.Abort() // the worker learns that nothing was answered
		return
	}
	if _, err := st.Write(answer.Append(nil)); err != nil {
		st.Abort()
		return
	}
	_ = st.CloseWrite() // the worker is gone, or has the answer
}

func (s *State) serve(ctx context.Context, m link.Meta, st link.Stream) (push.Answer, error) {
	b, err := io.ReadAll(io.LimitReader(st, push.MaxRequest+1))
	if err != nil {
		return push.Answer{}, err
	}
	version, _ := s.Version()
	if len(b) > push.MaxRequest {
		return push.Answer{Applied: version, Error: errTooLarge.Error()}, nil
	}
	r, err := push.ParseRequest(b)
	if err != nil {
		return push.Answer{}, err
	}
	applied, err := s.UpdateConfiguration(ctx, m.Tunnel, r.Version, r.Config)
	a := push.Answer{Applied: applied}
	if err != nil {
		a.Error = err.Error()
	}
	return a, nil
}
