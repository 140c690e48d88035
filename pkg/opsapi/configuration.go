package opsapi

import (
	"encoding/json"

	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// ConfigurationCheck is a document to validate.
type ConfigurationCheck struct {
	Config json.RawMessage `json:"config" doc:"configuration, as the edge would push it"`
}

// Validation is what became of it.
type Validation struct {
	Valid  bool     `json:"valid" doc:"whether proxies would accept it, as far as only their own host cannot tell"`
	Errors []string `json:"errors" doc:"what is wrong, with the place"`
}

// DiffRequest names two documents: of versions, or one given in the request.
type DiffRequest struct {
	From   uint64          `json:"from,omitempty" doc:"number of the former version; 0 is the newest"`
	To     uint64          `json:"to,omitempty" doc:"number of the latter version; 0 is the newest"`
	Config json.RawMessage `json:"config,omitempty" doc:"document that takes the place of the latter version"`
}

// Difference is how two documents differ.
type Difference struct {
	Tunnel tunnel.ID `json:"tunnel_id" doc:"id of the tunnel"`
	Same   bool      `json:"same" doc:"whether both are the same"`
	Diff   string    `json:"diff" doc:"lines of both documents: - is only in the former one, + only in the latter"`
}

// Rollback names the version to put in force again.
type Rollback struct {
	Version *uint64 `json:"version,omitempty" doc:"number of the newest version that the operator saw; If-Match may say it instead"`
	Restore uint64  `json:"restore" doc:"number of the version to put in force again"`
	Author  string  `json:"author,omitempty" doc:"who does it"`
}

// Change is the change that a rollback stands for.
func (r Rollback) Change() rules.Change {
	return rules.Change{Version: r.Version, Author: r.Author, Restore: r.Restore}
}
