package stockmetrics

import (
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// quickFamily is the family that names the public URL of a quick tunnel.
const quickFamily = "culvert_quick_tunnel_info"

// QuickTunnel shows url as the public URL of the quick tunnel that this process runs.
func QuickTunnel(reg prometheus.Registerer, url string) {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: quickFamily, Help: "Constant 1; the label is the public URL of the quick tunnel.",
	}, []string{"url"})
	info.WithLabelValues(url).Set(1)
	reg.MustRegister(info)
}

// Gatherer gives what own gives, and the families of the reference made of it. Names of the reference replace none of ours.
func Gatherer(own prometheus.Gatherer) prometheus.Gatherer {
	table := Table()
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		list, err := own.Gather()
		ours := make(families, len(list))
		for _, f := range list {
			ours[f.GetName()] = f
		}
		for i := range table {
			if f := table[i].family(ours); f != nil {
				list = append(list, f)
			}
		}
		slices.SortFunc(list, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
		return list, err
	})
}

// Handler serves reg and the families of the reference in Prometheus' text format. It adds figures of its own to reg, those of the
// library's standard page.
func Handler(reg *prometheus.Registry) http.Handler {
	return promhttp.InstrumentMetricHandler(reg, promhttp.HandlerFor(Gatherer(reg), promhttp.HandlerOpts{Registry: reg}))
}

// family makes the family, or nil when it has no series.
func (s *Series) family(ours families) *dto.MetricFamily {
	samples := s.derive(ours)
	if len(samples) == 0 {
		return nil
	}
	f := &dto.MetricFamily{Name: &s.Name, Help: &s.Help, Type: &s.Kind}
	for i := range samples {
		f.Metric = append(f.Metric, s.metric(&samples[i]))
	}
	return f
}

func (s *Series) metric(v *sample) *dto.Metric {
	m := &dto.Metric{}
	for i, name := range s.Labels {
		m.Label = append(m.Label, &dto.LabelPair{Name: &name, Value: &v.labels[i]})
	}
	slices.SortFunc(m.Label, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	switch s.Kind {
	case dto.MetricType_HISTOGRAM:
		m.Histogram = v.histogram
	case dto.MetricType_COUNTER:
		m.Counter = &dto.Counter{Value: &v.value}
	default:
		m.Gauge = &dto.Gauge{Value: &v.value}
	}
	return m
}
