package ops

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// requestRate and requestBurst bound what one token or address may spend, in units of one read: per second, and at once.
	requestRate, requestBurst = 200, 1000
	// What requests cost: a change makes several calls of the store, and wrong tokens are not to be tried out.
	costRead, costChange, costWrong = 1, 5, 25
	// maxLimited bounds each of the two generations of those that are counted.
	maxLimited = 4096
	// limitBits is the prefix of an IPv6 address that counts as one peer.
	limitBits = 64
)

// limits counts requests by token or address.
type limits struct {
	mu sync.Mutex
	// recent and older are generations: when recent is full it replaces older, whose peers are forgotten.
	recent, older map[string]*rate.Limiter
}

// allow counts a request, and reports whether it is within the rate.
func (l *limits) allow(key string, cost int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.recent[key]
	if one == nil {
		if one = l.older[key]; one == nil {
			one = rate.NewLimiter(requestRate, requestBurst)
		}
		if l.recent == nil || len(l.recent) >= maxLimited {
			l.recent, l.older = map[string]*rate.Limiter{}, l.recent
		}
		l.recent[key] = one
	}
	return one.AllowN(time.Now(), cost)
}

// limitKey is the token of a request, or where it comes from. All peers on the Unix socket are one.
func limitKey(r *http.Request, who Principal) string {
	if who.Token != "" {
		return "token/" + who.Token
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return "socket"
	}
	a := peer.Addr().Unmap().WithZone("")
	if p, err := a.Prefix(limitBits); a.Is6() && err == nil {
		return p.String()
	}
	return a.String()
}

func costOf(r *http.Request, wrong bool) int {
	switch {
	case wrong:
		return costWrong
	case isChange(r):
		return costChange
	}
	return costRead
}
