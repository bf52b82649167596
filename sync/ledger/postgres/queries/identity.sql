-- Which ledger this is.

-- name: ledger_identity
SELECT id FROM ledger_identity
