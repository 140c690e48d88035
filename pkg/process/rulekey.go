package process

import (
	"crypto/rand"
	"fmt"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/rules"
)

const maxKeyFile = 64 << 10

// RuleKey seals and opens configurations in the store.
type RuleKey = rules.Key

// NewRuleKey makes a key that no other process has.
func NewRuleKey() (*RuleKey, error) { return rules.NewKey([]byte(rand.Text() + rand.Text())) }

// ReadRuleKey reads the key from the file that config_key_file names; nil for no file.
func ReadRuleKey(path string) (*RuleKey, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // without a file there is no key
	}
	b, err := filewatch.ReadRegular(path, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("config_key_file: %w", err)
	}
	key, err := rules.NewKey(b)
	if err != nil {
		return nil, fmt.Errorf("config_key_file: %s: %w", path, err)
	}
	return key, nil
}
