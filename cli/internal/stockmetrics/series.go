package stockmetrics

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// Series is one family of the reference.
type Series struct {
	Name   string
	Kind   dto.MetricType
	Labels []string
	// Buckets are the bounds of a histogram.
	Buckets []float64
	Help    string
	// From are the parts whose sum the figure is. A family without labels and without parts is 0; one with labels and without parts
	// does not exist, and Note says why.
	From []Part
	// Note says what differs from the reference.
	Note string
}

// Part is a figure of ours, or some of its series.
type Part struct {
	// Family is the name of ours.
	Family string
	// Where selects series by their labels: each label must have one of the values.
	Where map[string][]string
	// Labels gives a value for each label of the reference: the name of a label of ours, or = and a constant.
	Labels []string
	// Rename replaces values of labels of ours.
	Rename map[string]string
	// Factor converts units; 0 is 1.
	Factor float64
	// Value, when set, replaces the figure, for families that only say that something is there.
	Value *float64
	// NonZero leaves out series that are 0: the reference shows a family with labels from its first event on.
	NonZero bool
}

// sample is one series of a family.
type sample struct {
	labels    []string
	value     float64
	fixed     bool // value is no figure
	histogram *dto.Histogram
}

// families are what a registry has gathered, by name.
type families map[string]*dto.MetricFamily

// derive computes the series of a family, in the order of their labels.
func (s *Series) derive(ours families) []sample {
	sums := make(map[string]*sample)
	for i := range s.From {
		s.From[i].add(sums, ours, s)
	}
	if len(s.Labels) == 0 && len(sums) == 0 {
		sums[""] = &sample{}
		if s.Kind == dto.MetricType_HISTOGRAM {
			sums[""].histogram = newHistogram(s.Buckets)
		}
	}
	var out []sample
	for _, key := range slices.Sorted(maps.Keys(sums)) {
		sum := sums[key]
		if !sum.fixed {
			sum.value = max(sum.value, 0) // what is less has no meaning in the reference, such as our -1 for a local configuration
		}
		out = append(out, *sum)
	}
	return out
}

// add adds the part's series to sums.
func (p *Part) add(sums map[string]*sample, ours families, s *Series) {
	family := ours[p.Family]
	for _, m := range family.GetMetric() {
		labels := labelsOf(m)
		if !p.selects(labels) || p.NonZero && figure(m) == 0 {
			continue
		}
		values := make([]string, len(p.Labels))
		for i, from := range p.Labels {
			values[i] = p.label(from, labels)
		}
		key := strings.Join(values, "\xff")
		sum := sums[key]
		if sum == nil {
			sum = &sample{labels: values}
			if s.Kind == dto.MetricType_HISTOGRAM {
				sum.histogram = newHistogram(s.Buckets)
			}
			sums[key] = sum
		}
		if sum.histogram != nil {
			addHistogram(sum.histogram, m.GetHistogram(), p.factor())
			continue
		}
		if p.Value != nil {
			sum.value, sum.fixed = *p.Value, true
			continue
		}
		sum.value += figure(m) * p.factor()
	}
}

func (p *Part) factor() float64 { return cmp.Or(p.Factor, 1) }

func (p *Part) selects(labels map[string]string) bool {
	for name, values := range p.Where {
		if !slices.Contains(values, labels[name]) {
			return false
		}
	}
	return true
}

func (p *Part) label(from string, labels map[string]string) string {
	if constant, ok := strings.CutPrefix(from, "="); ok {
		return constant
	}
	if other, ok := p.Rename[labels[from]]; ok {
		return other
	}
	return labels[from]
}

func labelsOf(m *dto.Metric) map[string]string {
	labels := make(map[string]string, len(m.GetLabel()))
	for _, l := range m.GetLabel() {
		labels[l.GetName()] = l.GetValue()
	}
	return labels
}

// figure is the value of a counter or a gauge.
func figure(m *dto.Metric) float64 {
	if m.GetCounter() != nil {
		return m.GetCounter().GetValue()
	}
	return m.GetGauge().GetValue()
}

func newHistogram(bounds []float64) *dto.Histogram {
	h := &dto.Histogram{SampleCount: new(uint64), SampleSum: new(float64)}
	for _, bound := range bounds {
		h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: &bound, CumulativeCount: new(uint64)})
	}
	return h
}

// addHistogram adds what from has counted below each bound of to. from has every bound of to, once multiplied by factor: a test of
// the table makes sure.
func addHistogram(to, from *dto.Histogram, factor float64) {
	*to.SampleCount += from.GetSampleCount()
	*to.SampleSum += from.GetSampleSum() * factor
	for _, bucket := range to.Bucket {
		for _, b := range from.GetBucket() {
			if math.Abs(b.GetUpperBound()*factor-bucket.GetUpperBound()) < 1e-9*bucket.GetUpperBound() {
				*bucket.CumulativeCount += b.GetCumulativeCount()
			}
		}
	}
}
