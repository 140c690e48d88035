package metrics

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
)

// calls are the figures of the calls in one direction.
type calls struct {
	total   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// callBuckets are those of the reference (docs/spec/lifecycle.md 10.3), and two below, since an edge may be near.
func callBuckets() []float64 {
	return append([]float64{.005, .015}, prometheus.ExponentialBuckets(.05, 3, 5)...)
}

func newCalls(total *prometheus.CounterVec, seconds *prometheus.HistogramVec) calls {
	return calls{total: total, seconds: seconds}
}

func (c calls) count(method string, took time.Duration, err error) {
	c.total.WithLabelValues(method, result(err)).Inc()
	c.seconds.WithLabelValues(method).Observe(took.Seconds())
}

// result is what became of a call: a bounded set, used as a metric label.
func result(err error) string {
	var rejected *remoteconfig.RejectedError
	var ended *tunnel.ConnError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &rejected):
		return "rejected"
	case errors.Is(err, rpc.ErrRegisterV3), errors.Is(err, rpc.ErrUnregisterV3):
		return "unsupported"
	case errors.As(err, &ended) && (ended.Reason == tunnel.ReasonDuplicate || ended.Reason == tunnel.ReasonRefused):
		return string(ended.Reason)
	}
	return "failed"
}
