package stack

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
)

// Lookup says how the edge is found.
type Lookup struct {
	// Static addresses replace every other way.
	Static []string
	Region string
	// Domain and Resolver are empty for the defaults.
	Domain   string
	Resolver string
}

type staticPublisher struct {
	store *redisstore.Store
	addrs []netip.AddrPort
}

func (p *staticPublisher) Run(ctx context.Context) error {
	_, err := p.store.PublishPool(ctx, "", edgepool.Pool{Source: edgepool.SourceStatic, Regions: edgepool.Static(p.addrs)})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
func (p *staticPublisher) Ready() error       { return nil }
func (p *staticPublisher) Routes(*echo.Group) {}

func (s *Stack) buildDiscovery() (part, error) {
	p := &staticPublisher{store: s.store}
	for _, text := range s.cfg.Lookup.Static {
		a, err := net.ResolveUDPAddr("udp", text)
		if err != nil {
			return nil, fmt.Errorf("edge %s: %w", text, err)
		}
		ap := a.AddrPort()
		p.addrs = append(p.addrs, netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()))
	}
	return p, nil
}
