INSERT INTO usage_switches (account, at, off) VALUES ('old', 1765656000000, 1), ('old', 1765659600000, 0);
