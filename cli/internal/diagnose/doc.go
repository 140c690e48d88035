// Package diagnose has the commands that find out why a tunnel does not work, and the connectivity checks at the start of a connector
// (docs/spec/lifecycle.md 12). It joins the settings of the command line with packages precheck, probe and diag.
package diagnose
