// Package stripefaketest keeps stripefake from drifting away from Stripe. It is for tests.
//
// [Proxy] and [Transport] stand between a client of Stripe and the fake. Each request that the fake accepts is also
// put to Stripe's own stripe-mock, which knows Stripe's OpenAPI document: what it refuses, the real Stripe would, and
// the test fails. Each answer of the fake (and each webhook that is put to [Answer]) is compared field by field with the types of
// stripe-go v76, which are generated from Stripe's description of the pinned version: a field that they lack, or one
// of another type, fails the test.
//
// # Versions
//
// The stripe-mock that the module cache has (v0.203.0) is built from a newer version of Stripe's API (2026-08-26) than
// the one that stripe-go v76 is pinned to (2023-10-16); the only older one published as a module (v0.148.0, of
// 2022-11-15) knows neither billing meters nor tax calculations. So requests are checked against the newer document,
// less what it dropped since: see renamed in check.go, which is all that was found. Answers are checked against
// stripe-go alone, because the newer document moved many fields (an invoice's payment_intent, charge, paid and tax).
// stripe-mock keeps no state: it tells whether a request is well-formed, not whether it makes sense.
package stripefaketest
