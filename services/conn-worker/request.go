package connworker

import (
	"fmt"
	"runtime"

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// features lists what to announce for one registration, by the records as they are known now.
func (k *keeper) features(epoch tunnel.Epoch) []string {
	k.mu.Lock()
	txt := k.pool.FeatureTXT
	k.mu.Unlock()
	record, err := protocol.ParseFeatures(txt)
	if err != nil {
		record = protocol.FeatureRecord{} // discovery publishes no such text
	}
	return protocol.Wish{
		Given: k.s.cfg.Features, PostQuantum: k.s.cfg.PostQuantum, Record: record,
		Own:         append(protocol.Extensions(), fmt.Sprintf("%s%d", protocol.FeatureEpoch, epoch)),
		AccountHash: credential.AccountHash(k.cred.AccountTag),
	}.Offer().Features
}

// arch is the platform in the wire's form.
func arch() string { return runtime.GOOS + "_" + runtime.GOARCH }
