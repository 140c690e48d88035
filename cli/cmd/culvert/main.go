package main

import (
	"os"

	"github.com/culvert-tunnel/culvert/cli"
)

func main() { os.Exit(cli.Main()) }
