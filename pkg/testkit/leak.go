package testkit

import (
	"testing"

	"go.uber.org/goleak"
)

// VerifyMain runs the tests of a package and fails when a goroutine is left over afterwards. Use it as
//
//	func TestMain(m *testing.M) { testkit.VerifyMain(m) }
//
// ignore names functions of libraries whose goroutines end late, as in "example.com/lib.(*Pool).run".
func VerifyMain(m *testing.M, ignore ...string) {
	options := make([]goleak.Option, len(ignore))
	for i, function := range ignore {
		options[i] = goleak.IgnoreAnyFunction(function)
	}
	goleak.VerifyTestMain(m, options...)
}
