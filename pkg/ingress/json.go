package ingress

// ParseJSON decodes a configuration as the edge pushes it: keys in any letter case, durations in seconds or as text.
func ParseJSON(b []byte) (Document, error) { return Document{}, nil }

// ReportJSON is the rule set as it is reported to the edge at registration: only what differs from the defaults
// (spec/ingress.md 2.7). flags may be nil.
func (s *Set) ReportJSON(flags map[string]string) ([]byte, error) { return nil, nil }

// ConfigJSON is the answer of the /config endpoint: every effective value (spec/ingress.md 12.5).
func (s *Set) ConfigJSON(version int32) ([]byte, error) { return nil, nil }
