//go:build race

package sim

// underRace says that the race detector makes everything several times slower. A run is one goroutine, so it has nothing to find there.
const underRace = true
