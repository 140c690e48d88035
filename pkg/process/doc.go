// Package process is what every binary is made of: Runner (a part), Group (parts in order), and Main, which turns a
// service into a program.
//
// Main does flags, file and environment (package config), the logger and the registry (telemetry), the private
// listener with health and readiness (ops), signals and the exit code. A service's main is
//
//	func main() { process.Main("edge", edge.Default(), edge.Build, process.OpsListen(process.OpsEdge)) }
//
// or, for a service that needs the store, Main of package stored. The service's own Config does not have the sections "ops" and
// "log": Main adds them. A part that has Ready() error and Routes(*echo.Group) gets its place in /readyz and under
// /v1.
//
// The programs know these commands: none (serve), config, healthcheck, version.
//
// The first SIGINT or SIGTERM cancels the context of the parts, with the signal as the cause; a later one ends the
// process at once. A part that returns before its context ends stops the process with an error. The package is the only one that
// makes a root context. Groups wait for every goroutine they start.
package process
