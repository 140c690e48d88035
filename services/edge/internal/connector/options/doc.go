// Package options reads what a connector says about itself when it registers: its features, its epoch and its texts.
//
// It is pure: no clock, network or log.
package options
