// Command culvert is the whole system in one process: the demo, the drop-in connector, every service, and the operator's
// commands.
package main

import (
	"os"

	"github.com/culvert-tunnel/culvert/cli"
)

func main() { os.Exit(cli.Main()) }
