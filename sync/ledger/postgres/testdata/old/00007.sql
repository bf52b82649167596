UPDATE account_hours SET reported = 80 WHERE account = 'old';
INSERT INTO usage_accounts (account, off, owed) VALUES ('old', false, 6);
INSERT INTO usage_batches (identifier, account, hour, n, seconds, minute, state, attempts, sent_at, due_at, created_at, proven_at) VALUES
    ('rf-old-20251213T12-1', 'old', '2025-12-13 12:00:00Z', 1, 80, '2025-12-13 12:00:00Z', 'proven', 1, '2025-12-13 13:10:00Z', NULL, '2025-12-13 13:10:00Z', '2025-12-13 13:20:00Z'),
    ('rf-old-20251213T11-1', 'old', '2025-12-13 11:00:00Z', 1, 6, '2025-12-13 11:00:00Z', 'sent', 2, '2025-12-13 13:10:00Z', '2025-12-13 13:20:00Z', '2025-12-13 13:10:00Z', NULL);
UPDATE billing_sync SET revision = 3, synced = 2, attempts = 1, problem = 'Stripe does not answer' WHERE account = 'old';
