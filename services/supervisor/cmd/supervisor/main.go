// Command supervisor runs the part that decides which worker holds which connection.
package main

import (
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/process/stored"
	"github.com/culvert-tunnel/culvert/services/supervisor"
)

func main() {
	stored.Main("supervisor", supervisor.Default(), supervisor.Build, process.OpsListen(process.OpsSupervisor))
}
