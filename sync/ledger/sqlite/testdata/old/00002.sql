-- input_hash: SHA-256 of "8:30000000", "8:purchase" and "4:card".
INSERT INTO grants (account, number, units, kind, reference, reason, created_at, input_hash) VALUES
    ('old', 1, 30000000, 'purchase', 'pi:1', 'card', 1765627200000, X'a2eaf5449cb6ae88f1921b3e48db683cf78448b9b416cda570d4d972f05e4483');
UPDATE account_sums SET granted_units = 30000000, grants = 1 WHERE account = 'old';
