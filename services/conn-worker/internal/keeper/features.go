package keeper

import (
	"fmt"
	"runtime"

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// features lists the features to announce with a registration, by the newest known feature record.
func (k *keeper) features(epoch tunnel.Epoch) []string {
	k.mu.Lock()
	txt := k.machine.Pool().FeatureTXT
	k.mu.Unlock()
	return features(k.cfg, k.cred.AccountTag, txt, epoch)
}

func features(cfg Config, accountTag, txt string, epoch tunnel.Epoch) []string {
	record, err := protocol.ParseFeatures(txt)
	if err != nil {
		record = protocol.FeatureRecord{} // discovery publishes valid texts only
	}
	return protocol.Wish{
		Given: cfg.Features, PostQuantum: cfg.PostQuantum, Record: record,
		Own:         append(protocol.Extensions(), fmt.Sprintf("%s%d", protocol.FeatureEpoch, epoch)),
		AccountHash: credential.AccountHash(accountTag),
	}.Offer().Features
}

// arch is the platform in the wire's form.
func arch() string { return runtime.GOOS + "_" + runtime.GOARCH }
