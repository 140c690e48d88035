package flow

import (
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// firstStatus and lastStatus are the least and the largest status that an HTTP message can have.
const (
	firstStatus = 100
	lastStatus  = 999
)

// byStatus is one count per status.
type byStatus [lastStatus + 1 - firstStatus]atomic.Uint64

// heads counts the heads of responses: one addition each. The sums over them are made when somebody asks for the metrics.
type heads struct {
	// service are those of a rule's service, own those that the proxy made itself.
	service, own     byStatus
	classes, answers *prometheus.Desc
}

func (h *heads) count(in *byStatus, status int) {
	if status >= firstStatus && status <= lastStatus {
		in[status-firstStatus].Add(1)
	}
}

func newCounterDesc(opts prometheus.CounterOpts, labels []string) *prometheus.Desc {
	return prometheus.NewDesc(opts.Name, opts.Help, labels, nil)
}

func (h *heads) describe() {
	h.classes = newCounterDesc(prometheus.CounterOpts{
		Name: "culvert_proxy_responses_total", Help: "Heads sent to the edge, by class of status.",
	}, []string{"status_class"})
	h.answers = newCounterDesc(prometheus.CounterOpts{
		Name: "culvert_proxy_origin_responses_total", Help: "Responses of origins and other services of rules, by status.",
	}, []string{"status"})
}

// Describe lists the families.
func (h *heads) Describe(ch chan<- *prometheus.Desc) {
	ch <- h.classes
	ch <- h.answers
}

// Collect sums up. Every class is shown, and every status that a service has used.
func (h *heads) Collect(ch chan<- prometheus.Metric) {
	classes := map[string]uint64{"1xx": 0, "2xx": 0, "3xx": 0, "4xx": 0, "5xx": 0, "other": 0}
	for i := range h.service {
		n := h.service[i].Load()
		if n > 0 {
			ch <- prometheus.MustNewConstMetric(h.answers, prometheus.CounterValue, float64(n), strconv.Itoa(firstStatus+i))
		}
		n += h.own[i].Load()
		class := strconv.Itoa((firstStatus+i)/100) + "xx"
		if _, ok := classes[class]; !ok {
			class = "other"
		}
		classes[class] += n
	}
	for class, n := range classes {
		ch <- prometheus.MustNewConstMetric(h.classes, prometheus.CounterValue, float64(n), class)
	}
}
