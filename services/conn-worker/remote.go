package connworker

import (
	"context"
	"fmt"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/push"
)

// remote reaches the proxies that are registered in the store.
type remote struct {
	balancer *link.Balancer // carries flows to proxies
	pusher   *push.Pusher   // carries configurations to proxies
	follower *push.Follower
}

func (s *Service) newRemote(files *filewatch.Watcher) (*remote, error) {
	conf := link.BalancerConfig{Logger: s.log}
	if dir := s.cfg.Link.TLSDir; dir != "" {
		_, client, err := link.LoadTLS(dir, files)
		if err != nil {
			return nil, fmt.Errorf("tls_dir: %w", err)
		}
		conf.TLS = client
	}
	balancer := link.NewBalancer(conf)
	pusher := push.New(link.NewBalancer(conf), s.log)
	return &remote{balancer: balancer, pusher: pusher, follower: &push.Follower{
		Store: s.store, Pusher: pusher, Balancer: balancer, Logger: s.log, Observe: s.control.Observe,
		Trust:   s.cfg.Link.trust,                               // the default directory may be created while the worker runs
		Changed: func(context.Context) { s.registrar.Update() }, // New makes the registrar later
	}}, nil
}

// trust decides which proxies may be used.
func (c LinkConfig) trust() push.Trust {
	t := push.Trust{TLS: c.TLSDir != "", SocketDir: c.SocketDir}
	if dir := link.DefaultSocketDir(); t.SocketDir == "" && link.IsPrivateDir(dir) {
		t.SocketDir = dir
	}
	return t
}
