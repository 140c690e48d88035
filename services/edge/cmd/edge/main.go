// Command edge runs one edge.
package main

import (
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/services/edge"
)

func main() {
	process.Main("edge", edge.Default(), edge.Build, process.OpsListen(process.OpsEdge))
}
