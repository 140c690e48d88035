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

// ReadRuleKey reads the keys from the file that config_key_file names, and again when it changes; nil for no file.
func ReadRuleKey(path string, files *filewatch.Watcher) (*RuleKey, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // without a file there is no key
	}
	key := &RuleKey{}
	_, err := files.Add(filewatch.Set{ // as long as the process runs
		Name: "config_key_file", Paths: []string{path}, MaxBytes: maxKeyFile, Settle: true,
		Apply: func(contents [][]byte) error {
			if err := key.Replace(contents[0]); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	return key, nil
}
