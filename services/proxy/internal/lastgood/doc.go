// Package lastgood keeps on disk the last configuration that the edge pushed and the proxy accepted, for each tunnel, so that a proxy that
// starts while nobody can push has it again.
//
// The files are readable by their owner alone: a document may hold passwords. It starts no goroutine; calls for one tunnel must not
// overlap.
package lastgood
