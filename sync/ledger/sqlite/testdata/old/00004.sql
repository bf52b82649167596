INSERT INTO refused_records (digest, raw, reason, count, first_at, last_at) VALUES
    (X'795b6904e54f82411df4b0e27a373a55eea3f9d66dac5a9bce1dd92f7b401da5', CAST('garbage' AS BLOB), 'outbox record has 1 fields, want 16', 2, 1765627200000, 1765630800000);
