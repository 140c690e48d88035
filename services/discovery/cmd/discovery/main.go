// Command discovery runs the part that finds the edge's addresses for the others.
package main

import (
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/process/stored"
	"github.com/culvert-tunnel/culvert/services/discovery"
)

func main() {
	stored.Main("discovery", discovery.Default(), discovery.Build, process.OpsListen(process.OpsDiscovery))
}
