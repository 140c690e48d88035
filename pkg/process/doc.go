// Package process is what every binary is made of: Runner (a part), Group (parts in order), and Main, which turns a
// service into a program.
//
// Main does flags, file and environment (package config), the logger and the registry (telemetry), the private
// listener with health and readiness (ops), the store (redisstore), signals and the exit code. A service's main is
//
//	func main() { process.MainWithStore("discovery", discovery.Default(), build, process.OpsListen(process.OpsDiscovery)) }
//
//	func build(_ context.Context, env process.Env, store *redisstore.Store, cfg discovery.Config) (process.Runner, error) {
//		return discovery.New(cfg, discovery.Deps{Store: store, Logger: env.Logger, Registerer: env.Registerer})
//	}
//
// or Main with a build function without the store. The service's own Config does not have the sections "redis", "ops"
// and "log": Main adds them. A part that has Ready() error and Routes(*echo.Group) gets its place in /readyz and under
// /v1.
//
// The programs know these commands: none (serve), config, healthcheck, version.
//
// The first SIGINT or SIGTERM cancels the context of the parts, with the signal as the cause; a later one ends the
// process at once. A part that returns before its context ends stops the process with an error. The package is the only one that
// makes a root context. Groups wait for every goroutine they start.
package process
