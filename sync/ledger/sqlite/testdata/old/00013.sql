INSERT INTO purchases (id, account, kind, state, units, net, quoted, currency, save_card, success_url, cancel_url, tax, language, created_at, expires_at) VALUES
    (X'0193bf8a8c0070008000000000000013', 'old', 'checkout', 'open', 30000000, 35000000, 4235, 'EUR', 0, '', '', 'none', 'nl', 1765630800000, 1765634400000);
