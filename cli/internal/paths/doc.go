// Package paths knows where the program and its user keep files: the state directory, and the directories that are searched for
// configuration and credentials. It computes names and opens nothing.
package paths
