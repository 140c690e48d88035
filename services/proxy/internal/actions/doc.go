// Package actions applies the actions of a rule (docs/actions.md) and keeps what has a state: limits of requests in progress and per
// second, for all visitors and for each, and passwords. What an action means is compiled in package ingress.
package actions
