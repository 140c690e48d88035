//go:build !linux

package netwatch

import "context"

// listen has no source of changes on this system.
func listen(context.Context, func()) error { return nil }
