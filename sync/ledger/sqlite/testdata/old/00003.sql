INSERT INTO calls (
    uid, account, status, switch, direction, call_id, seq, epoch, created_at, authorized_at, answered_at,
    talk_ms, duration_sec, units, micros, extra_units, extra_micros, overrun_units, flags, reason,
    rate_units, connect_units, rate_micros, connect_micros, initial_sec, step_sec, credit_price_micros, max_seconds,
    from_number, to_number, from_raw, to_raw, number_id, mode, tariff, prefix, currency, recorded_at)
VALUES (
    X'0193bf8a8c0070008000000000000001', 'old', 'settled', 'sw1', 'outbound', 'old-call', 1, 7,
    1765627200000, 1765627111000, 1765627116000,
    84000, 84, 84000, 98000, 0, 0, 0, 'c', '16',
    60000, 5, 70000, 6, 1, 1, 70000, 3600,
    '+31850835037', '+4930123456', '0850835037', '004930123456', '0b4d7a34-6d0e-4c3e-8f53-2e8b1a6a9c11',
    'byok', 'standard@3', '49', 'EUR', 1765627201000);
INSERT INTO account_hours (account, hour, settled, lost, released, rejected, seconds, units, micros, extra_units, extra_micros) VALUES
    ('old', 1765627200000, 1, 0, 0, 0, 84, 84000, 98000, 0, 0);
UPDATE account_sums SET settled_units = 84000, seq = 1, settled = 1 WHERE account = 'old';
