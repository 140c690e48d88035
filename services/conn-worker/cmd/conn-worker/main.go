// Command conn-worker runs the part that holds connections to the edge.
package main

import (
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/process/stored"
	connworker "github.com/culvert-tunnel/culvert/services/conn-worker"
)

func main() {
	stored.Main("conn-worker", connworker.Default(), connworker.Build, process.OpsListen(process.OpsConnWorker), process.HalfCores())
}
