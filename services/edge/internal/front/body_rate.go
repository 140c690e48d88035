package front

import "time"

// bodyRate detects a body that arrives too slowly for its declared length. A few bytes now and then reset the idle timeout, but must
// not occupy a stream for days. Only time spent waiting for the visitor counts. The zero value has no limit.
type bodyRate struct {
	rate   int64 // bytes per second
	grace  time.Duration
	got    int64
	waited time.Duration
	began  time.Time
}

func (u *upload) bodyRate() bodyRate {
	rate := u.front.cfg.Limits.BodyRate
	if rate <= 0 || u.r.ContentLength <= 0 || u.front.cfg.BodyIdleTimeout <= 0 {
		return bodyRate{}
	}
	return bodyRate{rate: int64(rate), grace: u.front.cfg.BodyIdleTimeout}
}

func (p *bodyRate) begin() {
	if p.rate > 0 {
		p.began = time.Now()
	}
}

// tooSlow counts n bytes that came after a wait since begin.
func (p *bodyRate) tooSlow(n int) bool {
	if p.rate == 0 {
		return false
	}
	p.got += int64(n)
	p.waited += time.Since(p.began)
	return p.waited > p.grace && int64((p.waited-p.grace)/time.Second)*p.rate > p.got
}
