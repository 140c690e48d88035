package keeper

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
)

// Look ends the waits of all holders that failed, no faster than the registrations of a connector may come.
func (s *Set) Look() {
	for _, k := range s.keepers {
		k.look()
	}
	s.wakeHolders()
}

func (k *keeper) look() {
	k.mu.Lock()
	defer k.mu.Unlock()
	waiting := 0
	for _, held := range k.machine.Holders() {
		h := k.holders[held.Holder]
		if h == nil || h.Snapshot().Phase != lease.PhaseWaiting && h.Snapshot().Phase != lease.PhaseParked {
			continue
		}
		h.Look(time.Duration(max(0, waiting-lease.RegistrationBurst+1)) * time.Second)
		waiting++
	}
}
