INSERT INTO webhooks (account, number_id, url, secret, updated_at) VALUES
    ('old-without-grants', '', 'https://example.com/hook', 'whsec_old', 1765627200000);
INSERT INTO alerts (account, below_units, email, low_at, updated_at) VALUES
    ('old-without-grants', 6000000, 1, 1765627200000, 1765627200000);
INSERT INTO deliveries (id, account, number_id, endpoint, topic, event, body, state, attempts, due, since, error, created_at) VALUES
    (X'0193bf8a8c0070008000000000000008', 'old-without-grants', '', 'https://example.com/hook', '', 'balance-low', X'7b7d', 'pending', 1,
     1765627210000, 1765627200000, 'the endpoint answered 500', 1765627200000);
INSERT INTO endpoints (account, endpoint, failures) VALUES ('old-without-grants', 'https://example.com/hook', 1);
