UPDATE account_hours SET reported = 80 WHERE account = 'old';
INSERT INTO usage_accounts (account, off, owed) VALUES ('old', 0, 6);
INSERT INTO usage_batches (identifier, account, hour, n, seconds, minute, state, attempts, sent_at, due_at, created_at, proven_at) VALUES
    ('rf-old-20251213T12-1', 'old', 1765627200000, 1, 80, 1765627200000, 'proven', 1, 1765631400000, NULL, 1765631400000, 1765632000000),
    ('rf-old-20251213T11-1', 'old', 1765623600000, 1, 6, 1765623600000, 'sent', 2, 1765631400000, 1765632000000, 1765631400000, NULL);
UPDATE billing_sync SET revision = 3, synced = 2, attempts = 1, problem = 'Stripe does not answer' WHERE account = 'old';
