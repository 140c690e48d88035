// Package share keeps a proxy's shares of the limits that all proxies of a deployment have together (package quota): it renews them in the
// store while flows run, asks at once when one is too small, and gives them back when they are not used any more. While the store is away
// the last shares stay.
//
// Keeper.Run starts nothing else and waits for what it began.
package share
