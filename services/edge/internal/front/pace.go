package front

import "time"

// pace notices a body that comes too slowly for its declared length: a few bytes now and then are progress, but not
// enough to hold a stream for days. Only the time that is spent waiting for the visitor counts. The zero value minds
// nothing.
type pace struct {
	rate   int64 // bytes per second
	grace  time.Duration
	got    int64
	waited time.Duration
	began  time.Time
}

func (u *upload) pace() pace {
	rate := u.front.cfg.Limits.BodyRate
	if rate <= 0 || u.r.ContentLength <= 0 || u.front.cfg.BodyIdleTimeout <= 0 {
		return pace{}
	}
	return pace{rate: int64(rate), grace: u.front.cfg.BodyIdleTimeout}
}

func (p *pace) begin() {
	if p.rate > 0 {
		p.began = time.Now()
	}
}

// tooSlow counts n bytes that were waited for since begin.
func (p *pace) tooSlow(n int) bool {
	if p.rate == 0 {
		return false
	}
	p.got += int64(n)
	p.waited += time.Since(p.began)
	return p.waited > p.grace && int64((p.waited-p.grace)/time.Second)*p.rate > p.got
}
