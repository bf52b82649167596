// Package demo shows a sidecar at work: an embedded one, whole, and a small
// simulated call switch that places real calls with it over HTTP. Balances and
// slices are tiny, so that a minute shows everything: calls, refusals in both
// directions, a call that is warned and cut off when its credit ends, a hook
// that is sent twice, a restart of the sidecar in the middle of a call. At the
// end the sums must add up.
package demo
