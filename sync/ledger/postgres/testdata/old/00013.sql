INSERT INTO purchases (id, account, kind, state, units, net, quoted, currency, save_card, success_url, cancel_url, tax, language, created_at, expires_at) VALUES
    ('0193bf8a-8c00-7000-8000-000000000013', 'old', 'checkout', 'open', 30000000, 35000000, 4235, 'EUR', false, '', '', 'none', 'nl', '2025-12-13 13:00:00Z', '2025-12-13 14:00:00Z');
