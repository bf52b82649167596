// Package credit holds the two amounts the product counts in, and the only
// ways they may be read, shown, converted and added.
//
//   - [Units] is credit. 60,000 units are one credit, and one credit is one
//     minute of talk at the base price, so one unit is one millisecond of talk
//     at the base rate.
//   - [Micros] is money, in millionths of the account's currency.
//
// Both are whole numbers and stay within ±[Max] (2^53 - 1), because they also
// pass through Lua and JSON, whose numbers are IEEE 754 doubles. No float
// touches either.
//
// [Minutes] and [Amount] are the same numbers as a customer sees them: minutes
// rounded down to 0.01 ("498.6"), money rounded half up to the cent ("8.40").
// They exist for answers, never for arithmetic.
package credit
