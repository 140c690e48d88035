package registry

import "sync/atomic"

// load counts the requests of a connection in one word, so that a request costs one operation when it begins and one when it ends: the
// upper half counts those that have begun, the lower half those in flight.
type load struct{ word atomic.Int64 }

func (l *load) begin() { l.word.Add(1<<32 + 1) }

// end returns how many are left.
func (l *load) end() int64 { return flying(l.word.Add(-1)) }

func (l *load) inFlight() int64 { return flying(l.word.Load()) }

// read returns how many requests have begun, which wraps around, and how many are in flight.
func (l *load) read() (begun uint32, inFlight int64) {
	word := l.word.Load()
	return uint32(word >> 32), flying(word)
}

func flying(word int64) int64 { return int64(uint32(word)) }
