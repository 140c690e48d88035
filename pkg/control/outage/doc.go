// Package outage decides which outages of the store are told. A store that fails and works by turns is told a few times a minute, and not
// each time: the line would be noise, and the metric shows every turn.
//
// Pure: time comes in.
package outage
