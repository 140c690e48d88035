// Package ops is the private HTTP server of a process: /healthz, /readyz, /metrics, profiles, and the routes of the
// services under /v1. It alone maps errors to HTTP status.
//
// New binds the listener, so that a taken port is an error of start-up; Run serves until its context ends. The server
// knows its parts only through the two small interfaces Readier and Mounter. It is safe for concurrent use once Run
// was called; parts are added before.
package ops
