// Package label turns the labels of containers into routes (docs/docker.md). It is pure.
//
// A label can only lead to its own container: whoever wrote the labels of an image must not publish anything else. A mistake in the labels
// of a container leaves out what they ask for, and nothing of other containers.
package label
