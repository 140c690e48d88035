// Package former finds out whether another process of this host has ended, such as the one that had this worker's id before it was killed.
//
// What it cannot know it does not claim: a process of another host, of a former boot, or of another process namespace may run.
package former
