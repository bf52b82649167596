-- input_hash: SHA-256 of "8:30000000", "8:purchase" and "4:card".
INSERT INTO grants (account, number, units, kind, reference, reason, created_at, input_hash) VALUES
    ('old', 1, 30000000, 'purchase', 'pi:1', 'card', '2025-12-13 12:00:00Z', sha256('8:300000008:purchase4:card'));
UPDATE account_sums SET granted_units = 30000000, grants = 1 WHERE account = 'old';
