-- Rows are locked before they are read. A sidecar that hangs must not keep an account's row locked for others.
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL idle_in_transaction_session_timeout = '60s'
