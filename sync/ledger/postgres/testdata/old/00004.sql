INSERT INTO refused_records (digest, raw, reason, count, first_at, last_at) VALUES
    (sha256('garbage'), 'garbage', 'outbox record has 1 fields, want 16', 2, '2025-12-13 12:00:00Z', '2025-12-13 13:00:00Z');
