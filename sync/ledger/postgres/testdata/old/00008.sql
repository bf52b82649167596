INSERT INTO webhooks (account, number_id, url, secret, updated_at) VALUES
    ('old-without-grants', '', 'https://example.com/hook', 'whsec_old', '2025-12-13T12:00:00Z');
INSERT INTO alerts (account, below_units, email, low_at, updated_at) VALUES
    ('old-without-grants', 6000000, 1, '2025-12-13T12:00:00Z', '2025-12-13T12:00:00Z');
INSERT INTO deliveries (id, account, number_id, endpoint, topic, event, body, state, attempts, due, since, error, created_at) VALUES
    ('0193bf8a-8c00-7000-8000-000000000008', 'old-without-grants', '', 'https://example.com/hook', '', 'balance-low', '{}', 'pending', 1,
     '2025-12-13T12:00:10Z', '2025-12-13T12:00:00Z', 'the endpoint answered 500', '2025-12-13T12:00:00Z');
INSERT INTO endpoints (account, endpoint, failures) VALUES ('old-without-grants', 'https://example.com/hook', 1);
