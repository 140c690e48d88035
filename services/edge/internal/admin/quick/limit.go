package quick

import (
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"github.com/culvert-tunnel/culvert/services/edge/internal/share"
)

// maxNetworks bounds each of the two generations of networks that are remembered.
const maxNetworks = 4096

// limiter counts new tunnels, in total and by network. It is not safe for concurrent use.
type limiter struct {
	perAddress int
	total      *rate.Limiter
	// recent and older are generations: when recent is full it replaces older, whose networks are forgotten.
	recent, older map[netip.Prefix]*rate.Limiter
}

func newLimiter(perMinute, perAddress int) *limiter {
	return &limiter{perAddress: perAddress, total: minutely(perMinute), recent: make(map[netip.Prefix]*rate.Limiter)}
}

// minutely allows n in a minute, all at once if need be.
func minutely(n int) *rate.Limiter {
	return rate.NewLimiter(rate.Every(time.Minute/time.Duration(n)), n)
}

// allow counts a new tunnel for addr. A request beyond the limit of its network costs nothing of the total.
func (l *limiter) allow(addr netip.Addr, now time.Time) bool {
	return l.of(share.Network(addr)).AllowN(now, 1) && l.total.AllowN(now, 1)
}

func (l *limiter) of(n netip.Prefix) *rate.Limiter {
	if s := l.recent[n]; s != nil {
		return s
	}
	if len(l.recent) >= maxNetworks {
		l.recent, l.older = make(map[netip.Prefix]*rate.Limiter), l.recent
	}
	s := l.older[n]
	if s == nil {
		s = minutely(l.perAddress)
	}
	l.recent[n] = s
	return s
}
