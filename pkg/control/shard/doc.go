// Package shard divides the tunnels into shards, and the shards among supervisors. It has no state: whoever knows the names of the
// supervisors knows which of them is in charge of a tunnel.
package shard
