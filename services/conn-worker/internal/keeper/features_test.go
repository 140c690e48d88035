package keeper

import (
	"slices"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/protocol"
)

func TestFeatures(t *testing.T) {
	for name, c := range map[string]struct {
		given       []string
		postQuantum bool
		txt         string
		more        []string
	}{
		"plain": {},
		"given": {
			given: []string{"mine", "support_quic_eof", "support_datagram_v3", "mine"}, postQuantum: true,
			more: []string{"mine", "postquantum"},
		},
		"v3 by flag":          {given: []string{protocol.FeatureDatagramV3}, more: []string{protocol.FeatureDatagramV3}},
		"v3 by record":        {txt: `{"dv3_2":100}`, more: []string{protocol.FeatureDatagramV3}},
		"v3 for others":       {txt: `{"dv3_2":1}`},
		"v2 against a record": {given: []string{protocol.FeatureDatagramV2}, txt: `{"dv3_2":100}`},
		"bad record":          {txt: `{"dv3_2":-1}`},
	} {
		cfg := Config{Features: c.given, PostQuantum: c.postQuantum}
		want := append([]string{
			"allow_remote_config", "serialized_headers", "support_datagram_v2", "support_quic_eof", "management_logs",
			"culvert_streams_1", "culvert_datagrams_1", "culvert_fragments_1", "culvert_upgrades_1", "culvert_epoch=42",
		}, c.more...)
		slices.Sort(want)
		if got := features(cfg, "account-1", c.txt, 42); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}
