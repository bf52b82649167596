// Package vat says how much value added tax a sale of credit bears, and what a VAT ID looks like.
//
// Credit for calls is an electronically supplied telecommunications service: it is taxed where the buyer is
// (Directive 2006/112/EC, articles 44, 45 and 58), with these outcomes, in this order:
//
//	buyer's country           VAT ID            tax
//	not known                 any               the seller's own country's rate
//	the seller's own          any               the seller's own country's rate: a VAT ID changes nothing
//	another of the EU         verified          none: reverse charge (article 196)
//	another of the EU         none, unverified  the buyer's country's rate (OSS)
//	outside the EU            any               none: outside the scope
//
// Northern Ireland is in the EU for goods only. Its VAT IDs (XI) are taken and passed on, but a service sold there is
// one sold to the United Kingdom. Monaco is taxed as France (article 7). The parts of member states that lie outside
// the EU's VAT territory (article 6: the Canary Islands, Ceuta, Melilla, Büsingen, Heligoland, Livigno, Åland, Mount
// Athos, France's overseas departments ...) and those with rates of their own (Madeira, the Azores) are not told apart
// by postal code: they are taxed as their member state is.
//
// Rates are hundredths of a percent: 2550 is 25.5%. Amounts are in the currency's smallest unit.
package vat
