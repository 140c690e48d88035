package process

import (
	"errors"
	"fmt"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/telemetry"
)

// settings is a service's configuration with the sections that every process has.
type settings[C any] struct {
	Service C                `yaml:",inline"`
	Ops     ops.Config       `yaml:"ops"`
	Log     telemetry.Config `yaml:"log"`
}

// Validate checks every section.
func (s *settings[C]) Validate() error {
	var problems []error
	if v, ok := any(&s.Service).(interface{ Validate() error }); ok {
		problems = append(problems, v.Validate())
	}
	if err := s.Ops.Validate(); err != nil {
		problems = append(problems, fmt.Errorf("ops: %w", err))
	}
	if err := s.Log.Validate(); err != nil {
		problems = append(problems, fmt.Errorf("log: %w", err))
	}
	return errors.Join(problems...)
}

// lines splits joined errors, so that every problem is logged on a line of its own.
func lines(err error) []string {
	return strings.Split(strings.TrimSpace(err.Error()), "\n")
}
