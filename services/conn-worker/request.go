package connworker

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Features that every connector announces (spec/wire.md 12), with datagrams of version 2.
const (
	featureRemoteConfig   = "allow_remote_config"
	featureHeaders        = "serialized_headers"
	featureDatagramV2     = "support_datagram_v2"
	featureEOF            = "support_quic_eof"
	featureManagementLogs = "management_logs"
	featurePostQuantum    = "postquantum"
	// featureEpoch carries the epoch of the slot's lease to an edge that understands it; others ignore what they do not
	// know (spec/lifecycle.md 14.3).
	featureEpoch = "culvert_epoch="
)

// retiredFeatures are never announced, even when asked for.
func retiredFeatures() []string { return []string{"support_datagram_v3", "support_datagram_v3_1"} }

// features lists what to announce for one registration, without duplicates.
func features(extra []string, postQuantum bool, epoch tunnel.Epoch) []string {
	list := []string{featureRemoteConfig, featureHeaders, featureDatagramV2, featureEOF, featureManagementLogs}
	if postQuantum {
		list = append(list, featurePostQuantum)
	}
	for _, f := range extra {
		if f != "" && !slices.Contains(list, f) && !slices.Contains(retiredFeatures(), f) {
			list = append(list, f)
		}
	}
	return append(list, fmt.Sprintf("%s%d", featureEpoch, epoch))
}

// arch is the platform in the wire's form.
func arch() string { return runtime.GOOS + "_" + runtime.GOARCH }
