package resolve

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
)

// errNotPublic says that a name server gave an address that the host cannot have.
var errNotPublic = errors.New("refused")

// guards reports whether name lies under the domain whose names have public addresses only.
func (c *Client) guards(name string) bool {
	domain := c.cfg.PublicDomain
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return domain != "" && (name == domain || strings.HasSuffix(name, "."+domain))
}

// public drops the response of a family that has an address which is not public: the others in it are as doubtful. It fails if no address
// is left.
func (c *Client) public(host string, found []netip.Addr) ([]netip.Addr, error) {
	var refused error
	spoilt := map[bool]bool{} // by whether the family is IPv4
	for _, a := range found {
		if kind := edgepool.Bogon(a); kind != "" && !spoilt[a.Unmap().Is4()] {
			spoilt[a.Unmap().Is4()] = true
			refused = errors.Join(refused, fmt.Errorf("%w: %s, the address that a name server gives for %s, is %s", errNotPublic, a, host, kind))
		}
	}
	if refused == nil {
		return found, nil
	}
	if c.cfg.Refused != nil {
		c.cfg.Refused(refused)
	}
	var kept []netip.Addr
	for _, a := range found {
		if !spoilt[a.Unmap().Is4()] {
			kept = append(kept, a)
		}
	}
	if len(kept) == 0 {
		return nil, refused
	}
	return kept, nil
}
