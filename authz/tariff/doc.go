// Package tariff says what a call costs: a table of rates by direction, mode
// and longest destination prefix, the pure arithmetic of one call's price, and
// the emergency numbers that are never priced.
//
// # Tables
//
// A [Table] is read from YAML or JSON by [Parse], never changes afterwards, and
// is swapped whole. This one sells two modes, makes one destination free, and
// blocks another:
//
//	id: eu-2025
//	version: 3
//	currency: EUR
//	credit_price: 0.07            # one credit; default 0.07 for EUR
//	modes: [byok, all-in]         # absent: any mode is accepted
//	default_mode: byok            # default: the first of modes
//	rates:
//	  - credits_per_minute: 1     # every mode, both directions, everywhere
//	  - mode: all-in
//	    units_per_minute: 214286  # 60,000 units are one credit
//	    money_per_minute: 0.25
//	  - direction: outbound
//	    prefix: [3180, "+32800"]
//	    free: true
//	  - direction: outbound
//	    prefix: 31909
//	    blocked: true
//
// A rate also takes connect_credits or connect_units, connect_money, initial,
// step and min_seconds (seconds, default 1). Money that is not given is derived
// from credit and credit_price; where that is not a whole number of micros the
// file must say it.
//
// Of the rules that match a call, the longest prefix wins; among equal prefixes
// a rule for the call's mode wins over one for every mode, then a rule for its
// direction over one for both. Two rules with the same direction, mode and
// prefix are an error. So a prefix blocked for every mode stays blocked whatever
// a mode's general rate is.
//
// # Prices
//
// [Price] holds whole numbers only, credit and money side by side, and rounds
// once per call: see its formulas, which the balance store's scripts repeat.
package tariff
