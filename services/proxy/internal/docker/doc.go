// Package docker finds rules in the labels of the containers of a Docker Engine, or of Podman, which has the same API (docs/docker.md).
//
// It asks for the list of containers and for the stream of events, and for nothing else; its client is its own (docs/adr/0030). Events
// only say that something changed: the list is read again then, and every half minute, so that no event can be lost. While the engine
// cannot be reached, what was found last stays.
package docker
