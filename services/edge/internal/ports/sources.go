package ports

import (
	"container/list"
	"net/netip"

	"github.com/culvert-tunnel/culvert/services/edge/internal/share"
)

// sources are the visitors of one UDP port in the order of their last datagram, all together and for each address: a visitor that
// exceeds its address's share takes the place of another one of the same address. The caller serializes the methods.
type sources struct {
	limit, perAddress int

	byKey     map[visitorKey]*packetVisitor
	order     list.List // of *packetVisitor; the one that sent last is in front
	byAddress map[netip.Prefix]*list.List
}

func newSources(limit, perAddress int) sources {
	return sources{
		limit: limit, perAddress: perAddress, byKey: make(map[visitorKey]*packetVisitor),
		byAddress: make(map[netip.Prefix]*list.List),
	}
}

// evict returns the visitor that has to leave before one with the key from can be added, or nil, and the reason.
func (s *sources) evict(from visitorKey) (*packetVisitor, drop) {
	own := s.byAddress[share.Network(from.from.Addr())]
	switch {
	case own != nil && own.Len() >= s.perAddress:
		return visitorOf(own.Back()), dropShare
	case len(s.byKey) >= s.limit:
		return visitorOf(s.order.Back()), dropLimit
	default:
		return nil, 0
	}
}

func (s *sources) add(v *packetVisitor) {
	network := share.Network(v.key.from.Addr())
	own := s.byAddress[network]
	if own == nil {
		own = list.New()
		s.byAddress[network] = own
	}
	s.byKey[v.key] = v
	v.place, v.ownPlace = s.order.PushFront(v), own.PushFront(v)
}

// touch notes a datagram of v.
func (s *sources) touch(v *packetVisitor) {
	s.order.MoveToFront(v.place)
	s.byAddress[share.Network(v.key.from.Addr())].MoveToFront(v.ownPlace)
}

// remove reports whether v was here.
func (s *sources) remove(v *packetVisitor) bool {
	if s.byKey[v.key] != v {
		return false
	}
	delete(s.byKey, v.key)
	s.order.Remove(v.place)
	network := share.Network(v.key.from.Addr())
	own := s.byAddress[network]
	if own.Remove(v.ownPlace); own.Len() == 0 {
		delete(s.byAddress, network)
	}
	return true
}

func visitorOf(e *list.Element) *packetVisitor {
	return e.Value.(*packetVisitor) //nolint:forcetypeassert // the lists hold nothing else
}
