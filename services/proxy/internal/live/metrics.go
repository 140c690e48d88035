package live

import (
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// maxTunnelLabels bounds the tunnels that have a time series of their own: the first ones that get a configuration.
const maxTunnelLabels = 100

// metrics are the versions in force.
type metrics struct {
	newest  prometheus.Gauge
	each    *prometheus.GaugeVec
	tunnels prometheus.Gauge

	// mu guards what follows.
	mu       sync.Mutex
	versions map[tunnel.ID]int32
	labelled map[tunnel.ID]bool
}

func newMetrics() *metrics {
	m := &metrics{
		newest: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "culvert_proxy_config_version",
			Help: "Newest version of a pushed configuration in force, of all tunnels; -1 while all have the local one.",
		}),
		each: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "culvert_proxy_tunnel_config_version",
			Help: "Version of the pushed configuration in force of a tunnel, for the first 100 tunnels that get one.",
		}, []string{logkey.TunnelID}),
		tunnels: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "culvert_proxy_configured_tunnels", Help: "Tunnels with a pushed configuration in force.",
		}),
		versions: make(map[tunnel.ID]int32), labelled: make(map[tunnel.ID]bool),
	}
	m.newest.Set(float64(remoteconfig.LocalVersion))
	return m
}

func (m *metrics) register(reg prometheus.Registerer) error {
	return errors.Join(reg.Register(m.newest), reg.Register(m.each), reg.Register(m.tunnels))
}

// applied notes that a version of a tunnel's configuration is in force.
func (m *metrics) applied(id tunnel.ID, version int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.versions[id] = version
	newest := remoteconfig.LocalVersion
	for _, v := range m.versions {
		newest = max(newest, v)
	}
	m.newest.Set(float64(newest))
	m.tunnels.Set(float64(len(m.versions)))
	if !m.labelled[id] && len(m.labelled) >= maxTunnelLabels {
		return
	}
	m.labelled[id] = true
	m.each.WithLabelValues(id.String()).Set(float64(version))
}
