package dial

import "testing"

func TestHeaderLimitsOverHTTP2AreSettings(t *testing.T) {
	t.Parallel()
	got := New(Config{MaxHeaderFields: 300, MaxHeaderBytes: 200_000}).http2.Headers
	if got.MaxFields != 300 || got.MaxBytes != 200_000 {
		t.Errorf("limits %+v, want 300 fields and 200000 bytes", got)
	}
}
