package icmp

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	codec "github.com/culvert-tunnel/culvert/pkg/wire/icmp"
)

// socket sends echo requests of one flow.
type socket interface {
	// send sends an echo request with a time to live. The system sets id and checksum.
	send(message []byte, to netip.Addr, ttl uint8) error
	// receive waits for a response, which it reads into buf.
	receive(buf []byte) (response, error)
	// close makes receive fail.
	close()
}

// response is an echo reply or an ICMP error that the socket received for a request.
type response struct {
	// from is the sender.
	from netip.Addr
	// message is the echo reply, or for an ICMP error the head of the request that caused it.
	message []byte
	fault   codec.Fault
	isFault bool
}

// flow is one ping that goes on: its requests have source, destination and id in common.
type flow struct {
	r     *Router
	key   key
	s     socket
	timer *time.Timer
	last  atomic.Int64 // of the router's clock

	// mu guards the rest.
	mu   sync.Mutex
	back func(packet []byte) bool
	out  []byte // for requests
}

func newFlow(r *Router, k key, s socket, back func([]byte) bool) *flow {
	f := &flow{r: r, key: k, s: s, back: back}
	f.touch()
	f.timer = time.AfterFunc(f.r.idle, f.expire)
	return f
}

func (f *flow) touch() { f.last.Store(int64(f.r.now())) }

// expire is the timer's function.
func (f *flow) expire() {
	if left := f.r.idle - (f.r.now() - time.Duration(f.last.Load())); left > 0 {
		f.timer.Reset(left)
		return
	}
	f.r.remove(f)
}

// discard closes what a flow holds.
func (f *flow) discard() {
	f.timer.Stop()
	f.s.close()
}

func (f *flow) setBack(back func([]byte) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.back = back
}

func (f *flow) wayBack() func([]byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.back
}

// send sends the echo request of a packet one hop further.
func (f *flow) send(p *codec.Packet) error {
	echo, err := p.Echo()
	if err != nil {
		return err
	}
	f.touch()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out = echo.AppendMessage(f.out[:0], p.Is6())
	return f.s.send(f.out, p.Dst, p.TTL-1)
}

// receive passes responses back until the socket is closed.
func (f *flow) receive() {
	defer f.r.wg.Done()
	buf := make([]byte, 2048)
	var out []byte
	for {
		a, err := f.s.receive(buf)
		if errors.Is(err, errSkip) {
			continue
		}
		if err != nil {
			f.r.remove(f) // no effect if the socket is closed already
			return
		}
		f.touch()
		if out, err = f.encode(out[:0], a); err != nil {
			f.r.metrics.drop(readFailed)
			continue
		}
		count := f.r.metrics.replies
		if a.isFault {
			count = f.r.metrics.errors
		}
		f.r.giveBack(out, f.wayBack(), count)
	}
}

// errSkip means that a socket received a message that is no response to a ping.
var errSkip = errors.New("nothing of interest")

// encode makes the packet that the edge gets.
func (f *flow) encode(dst []byte, a response) ([]byte, error) {
	is6 := f.key.src.Is6()
	if !a.isFault {
		echo, err := codec.ParseMessage(a.message, is6, codec.Reply)
		if err != nil {
			return dst, err
		}
		echo.ID = f.key.id
		return echo.Append(dst, a.from, f.key.src, codec.ReplyTTL, codec.Reply)
	}
	echo, err := codec.ParseMessage(a.message, is6, codec.Request)
	if err != nil {
		return dst, err
	}
	echo.ID = f.key.id
	// The request as the router had it before its time to live ran out.
	original, err := echo.Append(nil, f.key.src, f.key.dst, 1, codec.Request)
	if err != nil {
		return dst, err
	}
	return codec.AppendError(dst, a.from, f.key.src, a.fault, original)
}
