-- A busy account's December: a million calls, one each 2.7 seconds. And a month of fifty small accounts among them.
INSERT INTO accounts (id, company_name, email, status, currency, tariff, language, time_zone, max_calls, max_seconds, spend_per_day, created_at, revision)
SELECT id, '', '', 'active', 'EUR', 'default', '', 'Europe/Amsterdam', 0, 0, 0, '2025-01-01 00:00:00Z', 0
FROM (SELECT 'busy' AS id UNION ALL SELECT 'small-' || n FROM generate_series(0, 49) AS n) AS ids;
INSERT INTO account_sums (account) SELECT id FROM accounts;
INSERT INTO grants (account, number, units, kind, reference, reason, created_at, input_hash)
SELECT 'busy', n, 2000000000, 'purchase', 'pi:' || n, '', timestamptz '2025-12-01 00:00:00Z' + n * interval '17 minutes', sha256('')
FROM generate_series(1, 2000) AS n;

INSERT INTO calls (
    uid, account, status, switch, direction, call_id, seq, epoch, created_at, authorized_at, answered_at,
    talk_ms, duration_sec, units, micros, extra_units, extra_micros, overrun_units, flags, reason,
    rate_units, connect_units, rate_micros, connect_micros, initial_sec, step_sec, credit_price_micros, max_seconds,
    from_number, to_number, from_raw, to_raw, number_id, mode, tariff, prefix, currency, recorded_at)
SELECT (lpad(to_hex(ms - 90000), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid, account, status, 'sw1', 'outbound',
    md5(n::text) || '@10.0.0.1', n, 1, at, at - interval '90 seconds', CASE WHEN costs THEN at - seconds * interval '1 second' END,
    seconds * 1000, seconds, seconds * 1000, (seconds * 70000 + 59) / 60, 0, 0, 0, '', CASE WHEN costs THEN '16' ELSE 'insufficient_credits' END,
    60000, 0, 70000, 0, 1, 1, 70000, 7200,
    '+31850835037', '+49301' || lpad((n % 1000000)::text, 6, '0'), '', '', '0b4d7a34-6d0e-4c3e-8f53-2e8b1a6a9c11',
    'byok', 'default@1', '49', 'EUR', at + interval '1 second'
FROM (
    SELECT n, CASE WHEN n % 11 = 0 THEN 'small-' || n / 11 % 50 ELSE 'busy' END AS account,
        CASE n % 20 WHEN 1 THEN 'rejected' WHEN 2 THEN 'released' WHEN 3 THEN 'lost' ELSE 'settled' END AS status,
        n % 20 NOT IN (1, 2) AS costs,
        CASE WHEN n % 20 IN (1, 2) THEN 0 ELSE 10 + n % 80 END AS seconds,
        1764547200000 + n * 2434 AS ms,
        timestamptz '2025-12-01 00:00:00Z' + n * interval '2.434 seconds' AS at
    FROM generate_series(1::bigint, 1100000) AS n
) AS made;

INSERT INTO account_hours (account, hour, settled, lost, released, rejected, seconds, units, micros, extra_units, extra_micros)
SELECT account, date_trunc('hour', created_at, 'UTC'), count(*) FILTER (WHERE status = 'settled'), count(*) FILTER (WHERE status = 'lost'),
    count(*) FILTER (WHERE status = 'released'), count(*) FILTER (WHERE status = 'rejected'),
    sum(duration_sec), sum(units), sum(micros), 0, 0
FROM calls GROUP BY 1, 2;
UPDATE account_sums AS s
SET settled_units = c.units, seq = c.seq, settled = c.settled, lost = c.lost, released = c.released, rejected = c.rejected
FROM (
    SELECT account, sum(units) AS units, max(seq) AS seq, count(*) FILTER (WHERE status = 'settled') AS settled,
        count(*) FILTER (WHERE status = 'lost') AS lost, count(*) FILTER (WHERE status = 'released') AS released,
        count(*) FILTER (WHERE status = 'rejected') AS rejected
    FROM calls GROUP BY account
) AS c WHERE c.account = s.account;
UPDATE account_sums SET granted_units = 4000000000000, grants = 2000 WHERE account = 'busy';
