INSERT INTO usage_switches (account, at, off) VALUES ('old', '2025-12-13 20:00:00Z', true), ('old', '2025-12-13 21:00:00Z', false);
