INSERT INTO purchases (id, account, kind, state, units, net, quoted, currency, save_card, success_url, cancel_url, tax, created_at, expires_at) VALUES
    ('0193bf8a-8c00-7000-8000-000000000011', 'old', 'checkout', 'open', 30000000, 35000000, 4235, 'EUR', false, '', '', 'none', '2025-12-13 13:00:00Z', '2025-12-13 14:00:00Z');
INSERT INTO accounts (id, company_name, email, status, currency, tariff, language, time_zone, max_calls, max_seconds, spend_per_day, created_at, revision) VALUES
    ('old-off', '', '', 'active', 'EUR', 'standard', '', 'UTC', 0, 0, 0, '2025-12-13 11:00:00Z', 3);
INSERT INTO account_sums (account) VALUES ('old-off');
INSERT INTO usage_accounts (account, off, owed) VALUES ('old-off', true, 0);
INSERT INTO account_hours (account, hour, settled, lost, released, rejected, seconds, units, micros, extra_units, extra_micros, unreported) VALUES
    ('old-off', '2025-12-13 11:00:00Z', 1, 0, 0, 0, 20, 20000, 0, 0, 0, 20), ('old-off', '2025-12-13 12:00:00Z', 1, 0, 0, 0, 30, 30000, 0, 0, 0, 0);
