package mux

import "time"

// pings measures the round trip. Its users hold Conn.mu.
type pings struct {
	// under is the number of PINGs that the peer has not acknowledged.
	under int
	at    time.Time
	// alone says that only one PING is on its way. With several, a path that lost everything for a while would be measured.
	alone bool
}

func (p *pings) sent(now time.Time) {
	p.under++
	p.at, p.alone = now, p.under == 1
}

// acknowledged returns the round trip, or 0 if the acknowledgement measures none.
func (p *pings) acknowledged(now time.Time) time.Duration {
	if p.under == 0 { // the peer acknowledges what nobody sent
		return 0
	}
	p.under--
	if !p.alone {
		return 0
	}
	return max(1, now.Sub(p.at))
}

// smooth adds a sample to a measured value. A smaller one counts at once, since delays on the way only add to a round trip.
func smooth(measured, sample int64) int64 {
	if measured == 0 || sample < measured {
		return sample
	}
	return measured + (sample-measured)/8
}
