package edgepool

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// MinRegions is how many regions with addresses a pool needs to survive the loss of one.
const MinRegions = 2

// UsableRegions counts the regions that have an address.
func (p Pool) UsableRegions() int {
	n := 0
	for _, r := range p.Regions {
		if len(r.V4)+len(r.V6) > 0 {
			n++
		}
	}
	return n
}

// Validate reports every problem of a pool. A pool from DNS needs two regions; a static one may have one, since the
// operator said so. An address belongs to one region only, and must be one that can be dialled.
func (p Pool) Validate() error {
	var errs []error
	need := MinRegions
	if p.Source == SourceStatic {
		need = 1
	}
	if n := p.UsableRegions(); n < need {
		errs = append(errs, fmt.Errorf("%w: regions with an address: %d, needed: %d", tunnel.ErrNoAddress, n, need))
	}
	names := map[tunnel.Region]bool{}
	owner := map[netip.AddrPort]tunnel.Region{}
	for _, r := range p.Regions {
		if names[r.Name] {
			errs = append(errs, fmt.Errorf("region %q: listed twice", r.Name))
		}
		names[r.Name] = true
		for _, a := range r.addresses() {
			if err := checkAddr(a); err != nil {
				errs = append(errs, fmt.Errorf("region %q: %w", r.Name, err))
			}
			if other, found := owner[a]; found {
				errs = append(errs, fmt.Errorf("region %q: %s is in region %q already", r.Name, a, other))
			}
			owner[a] = r.Name
		}
		errs = append(errs, r.checkFamilies())
	}
	return errors.Join(errs...)
}

func (r RegionPool) checkFamilies() error {
	for _, a := range r.V4 {
		if !a.Addr().Unmap().Is4() {
			return fmt.Errorf("region %q: %s is listed as IPv4", r.Name, a)
		}
	}
	for _, a := range r.V6 {
		if a.Addr().Unmap().Is4() {
			return fmt.Errorf("region %q: %s is listed as IPv6", r.Name, a)
		}
	}
	return nil
}

func checkAddr(a netip.AddrPort) error {
	switch ip := a.Addr(); {
	case !a.IsValid():
		return errors.New("an address is empty")
	case a.Port() == 0:
		return fmt.Errorf("%s has no port", a)
	case ip.IsUnspecified(), ip.IsMulticast():
		return fmt.Errorf("%s cannot be dialled", a)
	default:
		return nil
	}
}

// addresses is all of the region, the preferred family first.
func (r RegionPool) addresses() []netip.AddrPort {
	all := make([]netip.AddrPort, 0, len(r.V4)+len(r.V6))
	if r.PreferV6 {
		return append(append(all, r.V6...), r.V4...)
	}
	return append(append(all, r.V4...), r.V6...)
}
