package admin

import (
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/admin/quick"
	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

// The service that gives tunnels to strangers; package quick describes it.
type (
	// QuickConfig is its configuration.
	QuickConfig = quick.Config
	// QuickServer is the service.
	QuickServer = quick.Server
)

// QuickDeps is what the quick service works on.
type QuickDeps struct {
	Catalog *catalog.Catalog
	Table   *registry.Table
	Logger  *slog.Logger
	// TLS is nil for a plain listener.
	TLS *tls.Config
	// TrustedProxies are networks of proxies that may name the client, as for visitors.
	TrustedProxies []string
}

// DefaultQuick holds the default values of the quick service.
func DefaultQuick() QuickConfig { return quick.Default() }

// NewQuick binds the quick service's listener. Without one it removes the quick tunnels that an earlier configuration has left, and
// returns nil.
func NewQuick(cfg QuickConfig, d QuickDeps) (*QuickServer, error) {
	if !cfg.Listen.IsValid() {
		return nil, d.Catalog.RemoveQuick(d.Catalog.Quick())
	}
	store := quick.Store{
		Create: func(name, host string, limit int, now time.Time) (tunnel.Credentials, error) {
			t, err := d.Catalog.CreateQuick(name, host, limit, now)
			return t.Credentials(), err
		},
		Full: catalog.ErrFull, List: d.Catalog.Quick, Remove: d.Catalog.RemoveQuick,
		Connected: func(id tunnel.ID) bool { return d.Table.Count(id) > 0 }, Evict: d.Table.Evict,
	}
	return quick.New(cfg, quick.Deps{Store: store, Logger: d.Logger, TLS: d.TLS, TrustedProxies: d.TrustedProxies})
}
