package ledger

// usageStatements are those of usage that is reported to Stripe.
type usageStatements struct{}
