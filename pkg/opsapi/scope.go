package opsapi

import "github.com/culvert-tunnel/culvert/pkg/opstoken"

// Scope is what a caller of the API may do.
type Scope = opstoken.Scope

// The scopes.
const (
	Read    = opstoken.Read
	Operate = opstoken.Operate
	Admin   = opstoken.Admin
)
