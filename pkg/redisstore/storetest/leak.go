package storetest

import (
	"testing"

	"go.uber.org/goleak"
)

// VerifyMain is goleak.VerifyTestMain for packages that talk to a server which goes away in tests. The client's library
// uses a goroutine to reconnect to an unavailable server, which sees the end of its pool up to a second late.
func VerifyMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}
