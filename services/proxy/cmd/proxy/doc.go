// Command proxy runs one proxy process.
package main
