// Package plan compares what is desired with what is observed and says what to grant and what to release. It makes all
// decisions of the supervisor: pure functions of one snapshot of the world, without a clock. Ages and expiry were
// computed by the store's clock when the snapshot was read.
//
// The same snapshot gives the same plan, but for the choice between equal addresses, so it does not matter which
// supervisor plans. A plan that is executed in part, or twice, or late, does no harm: every grant names the epoch that it
// was decided on.
package plan
