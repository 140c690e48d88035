// Package sources puts together the local rules of a proxy: those of its files or flags, and those that providers find while it runs
// (docs/docker.md).
package sources
