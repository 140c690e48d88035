package redisstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func newScripts() map[string]*redis.Script {
	scripts := make(map[string]*redis.Script)
	for _, name := range command.Scripts() {
		scripts[name] = redis.NewScript(command.Source(name))
	}
	return scripts
}

// do sends a request within the store's time bound and decodes the reply.
func do[T any](ctx context.Context, s *Store, r command.Request[T]) (T, error) {
	reply, err := s.send(ctx, r.Op, r.Command)
	if err != nil {
		var none T
		return none, err
	}
	return r.Decode(reply)
}

// send runs a plain command, or a script: EVALSHA, and EVAL when the server does not know it yet.
func (s *Store) send(ctx context.Context, op string, c command.Command) (reply any, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	args := make([]any, len(c.Args))
	for i, arg := range c.Args {
		args[i] = arg
	}
	if c.Script == "" {
		reply, err = s.client.Do(ctx, args...).Result()
	} else {
		reply, err = s.scripts[c.Script].Run(ctx, s.client, c.Keys, args...).Result()
	}
	switch {
	case errors.Is(err, redis.Nil):
		return nil, nil //nolint:nilnil // the reply is nil
	case err != nil:
		return nil, s.failure(ctx, op, err)
	default:
		return reply, nil
	}
}

// failure maps an error of the client to the error for callers: the operation, the address and a sentinel.
func (s *Store) failure(ctx context.Context, op string, err error) error {
	var broken *brokenError
	if errors.As(err, &broken) {
		err = broken.cause
	}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return command.Unavailable(op, s.name, context.Canceled)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: store %s: %w: no response within %v", op, s.name, tunnel.ErrUnavailable, s.timeout)
	default:
		return command.Unavailable(op, s.name, diagnose(s.form, err))
	}
}
