UPDATE directory_revision SET revision = 6;
INSERT INTO tariffs (id, version, body, created_at, revision) VALUES
    ('standard', 3, '{"id":"standard","version":3,"currency":"EUR","credit_price":0.07,"rates":[{"units_per_minute":60000,"money_per_minute":0.07,"connect_units":0,"connect_money":0.00,"initial":1,"step":1,"min_seconds":1}]}', 1765627200000, 1);
INSERT INTO accounts (id, company_name, email, status, currency, tariff, language, time_zone, max_calls, max_seconds, spend_per_day, created_at, revision) VALUES
    ('old', 'Your Company', 'billing@example.com', 'active', 'EUR', 'standard', 'nl', 'Europe/Amsterdam', 10, 3600, 6000000, 1765627200000, 2),
    ('old-without-grants', '', '', 'suspended', 'EUR', 'standard', '', 'UTC', 0, 0, 0, 1765627200000, 3);
INSERT INTO numbers (id, e164, account, name, created_at, removed_at, revision) VALUES
    ('0b4d7a34-6d0e-4c3e-8f53-2e8b1a6a9c11', '+31850835037', 'old', 'Main line', 1765627200000, NULL, 5),
    ('0b4d7a34-6d0e-4c3e-8f53-2e8b1a6a9c10', '+31850835037', 'old', 'Before', 1765623600000, 1765625400000, 4);
INSERT INTO api_keys (id, account, name, prefix, hash, created_at, expires_at, revoked_at, last_used_at, revision) VALUES
    ('key-1', 'old', 'CI', 'rf_live_ab12', X'0101010101010101010101010101010101010101010101010101010101010101', 1765627200000, NULL, NULL, 1765627200000, 6);
