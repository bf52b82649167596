// Package hooktest is the suite that every switch dialect passes. A dialect's
// own test starts its server on a [Model] (or on the real authorizer and
// meter) and gives [Run] a [Switch] that speaks the dialect: it encodes what a
// switch of that kind would send and decodes what comes back. The suite then
// places calls and looks at the answers and at the accounts' credit; it knows
// nothing of the dialect.
package hooktest
