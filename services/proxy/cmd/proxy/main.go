// Command proxy runs one proxy process.
package main

import (
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/services/proxy"
)

func main() {
	process.MainWithStore("proxy", proxy.Default(), proxy.Build, process.OpsListen("127.0.0.1:8104"), process.HalfCores())
}
