package ledger

// sessionStatements are those of the billing page's sessions and sign-in links.
type sessionStatements struct{}
