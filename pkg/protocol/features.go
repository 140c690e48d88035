package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Feature names as they are sent at registration (docs/spec/wire.md 12).
const (
	FeatureRemoteConfig      = "allow_remote_config"
	FeatureSerializedHeaders = "serialized_headers"
	FeatureDatagramV2        = "support_datagram_v2"
	FeatureDatagramV3        = "support_datagram_v3_2"
	FeatureQUICEOF           = "support_quic_eof"
	// FeatureManagementLogs promises the management service (docs/spec/lifecycle.md 10.6).
	FeatureManagementLogs  = "management_logs"
	FeaturePostQuantum     = "postquantum"
	FeatureQuickReconnects = "quick_reconnects"

	// FeatureStreams to FeatureUpgrades are extensions of our own; every other edge ignores them (docs/extensions.md).
	FeatureStreams   = "culvert_streams_1"
	FeatureDatagrams = "culvert_datagrams_1"
	FeatureFragments = "culvert_fragments_1"
	FeatureUpgrades  = "culvert_upgrades_1"
	// FeatureEpoch is the prefix of the feature with the epoch of the slot's lease (docs/spec/lifecycle.md 14.3).
	FeatureEpoch = "culvert_epoch="

	retiredDatagramV3  = "support_datagram_v3"
	retiredDatagramV31 = "support_datagram_v3_1"
)

// FeatureRecord is the feature record (docs/spec/wire.md 2.4). The zero value applies while it is not known.
type FeatureRecord struct {
	// DatagramV3 is the percentage of accounts that use datagram v3.
	DatagramV3 uint32 `json:"dv3_2"`
	// SkipPrechecks switches the checks before the first connection off.
	SkipPrechecks bool `json:"skip_prechecks"`
}

// ParseFeatures reads the text of the feature record and ignores unknown keys. An empty text, which a pool has when the record
// could not be read, is the zero record. After an error callers keep the record that they had.
func ParseFeatures(txt string) (FeatureRecord, error) {
	if txt == "" {
		return FeatureRecord{}, nil
	}
	var r FeatureRecord
	if err := json.Unmarshal([]byte(txt), &r); err != nil {
		return FeatureRecord{}, fmt.Errorf("feature record: %w", err)
	}
	return r, nil
}

// Extensions lists the features of our own that every connector of ours announces.
func Extensions() []string {
	return []string{FeatureStreams, FeatureDatagrams, FeatureFragments, FeatureUpgrades}
}

// Wish is the input of the feature list.
type Wish struct {
	// Given are the features of --features.
	Given []string
	// Own are features beyond the reference's list, which are announced in any case.
	Own []string
	// PostQuantum is --post-quantum: strict.
	PostQuantum bool
	Record      FeatureRecord
	AccountHash uint8
}

// Offer is what a connection offers.
type Offer struct {
	// Features is sorted and has no duplicates. The reference sends it in changing order.
	Features []string
	// Datagram is the datagram version in use: FeatureDatagramV2 or FeatureDatagramV3.
	Datagram      string
	SkipPrechecks bool
}

// Validate reports unusable values of --features.
func (w Wish) Validate() error {
	if slices.Contains(w.Given, "") {
		return errors.New("features: an empty name")
	}
	return nil
}

// Offer makes the list. For datagrams a given v3 overrides a given v2, and both override the record
// (docs/spec/lifecycle.md 7); v2 is offered in any case.
func (w Wish) Offer() Offer {
	features := []string{
		FeatureRemoteConfig, FeatureSerializedHeaders, FeatureDatagramV2, FeatureQUICEOF, FeatureManagementLogs,
	}
	features = append(features, w.Own...)
	for _, f := range w.Given {
		if f != retiredDatagramV3 && f != retiredDatagramV31 {
			features = append(features, f)
		}
	}
	o := Offer{Datagram: FeatureDatagramV2, SkipPrechecks: w.Record.SkipPrechecks}
	switch {
	case slices.Contains(w.Given, FeatureDatagramV3):
		o.Datagram = FeatureDatagramV3
	case slices.Contains(w.Given, FeatureDatagramV2):
	case w.Record.DatagramV3 > uint32(w.AccountHash):
		o.Datagram = FeatureDatagramV3
	}
	features = append(features, o.Datagram)
	if w.PostQuantum {
		features = append(features, FeaturePostQuantum)
	}
	slices.Sort(features)
	o.Features = slices.Compact(features)
	return o
}
