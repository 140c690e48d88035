// Package runlog is the log of culvert tunnel run: where its lines go and from which level on, and the lines of its start and end
// (docs/spec/logs.md). Package stocklog gives them the words and forms of cloudflared.
package runlog
