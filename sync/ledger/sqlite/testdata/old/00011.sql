INSERT INTO purchases (id, account, kind, state, units, net, quoted, currency, save_card, success_url, cancel_url, tax, created_at, expires_at) VALUES
    (X'0193bf8a8c0070008000000000000011', 'old', 'checkout', 'open', 30000000, 35000000, 4235, 'EUR', 0, '', '', 'none', 1765630800000, 1765634400000);
INSERT INTO accounts (id, company_name, email, status, currency, tariff, language, time_zone, max_calls, max_seconds, spend_per_day, created_at, revision) VALUES
    ('old-off', '', '', 'active', 'EUR', 'standard', '', 'UTC', 0, 0, 0, 1765623600000, 3);
INSERT INTO account_sums (account) VALUES ('old-off');
INSERT INTO usage_accounts (account, off, owed) VALUES ('old-off', 1, 0);
INSERT INTO account_hours (account, hour, settled, lost, released, rejected, seconds, units, micros, extra_units, extra_micros, unreported) VALUES
    ('old-off', 1765623600000, 1, 0, 0, 0, 20, 20000, 0, 0, 0, 20), ('old-off', 1765627200000, 1, 0, 0, 0, 30, 30000, 0, 0, 0, 0);
