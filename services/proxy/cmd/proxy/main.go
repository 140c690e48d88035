// Command proxy runs one proxy process.
package main

import (
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/process/stored"
	"github.com/culvert-tunnel/culvert/services/proxy"
)

func main() {
	stored.Main("proxy", proxy.Default(), proxy.Build, process.OpsListen(process.OpsProxy), process.HalfCores())
}
