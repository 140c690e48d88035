// Culvert is the all-in-one binary; see package cli.
package main
