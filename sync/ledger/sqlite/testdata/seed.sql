-- A busy account's December: a million calls, one each 2.7 seconds. And a month of fifty small accounts among them.
CREATE TEMP TABLE series (value INTEGER PRIMARY KEY);
WITH RECURSIVE n (value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM n WHERE value < 1100000)
INSERT INTO series SELECT value FROM n;

INSERT INTO accounts (id, company_name, email, status, currency, tariff, language, time_zone, max_calls, max_seconds, spend_per_day, created_at, revision)
SELECT id, '', '', 'active', 'EUR', 'default', '', 'Europe/Amsterdam', 0, 0, 0, 1735689600000, 0
FROM (SELECT 'busy' AS id UNION ALL SELECT 'small-' || value FROM series WHERE value < 50) AS ids;
INSERT INTO account_sums (account) SELECT id FROM accounts;
INSERT INTO grants (account, number, units, kind, reference, reason, created_at, input_hash)
SELECT 'busy', value, 2000000000, 'purchase', 'pi:' || value, '', 1764547200000 + value * 17 * 60000, X'00'
FROM series WHERE value BETWEEN 1 AND 2000;

INSERT INTO calls (
    uid, account, status, switch, direction, call_id, seq, epoch, created_at, authorized_at, answered_at,
    talk_ms, duration_sec, units, micros, extra_units, extra_micros, overrun_units, flags, reason,
    rate_units, connect_units, rate_micros, connect_micros, initial_sec, step_sec, credit_price_micros, max_seconds,
    from_number, to_number, from_raw, to_raw, number_id, mode, tariff, prefix, currency, recorded_at)
SELECT unhex(printf('%012x70008000%012x', at - 90000, n)), account, status, 'sw1', 'outbound',
    lower(hex(randomblob(16))) || '@10.0.0.1', n, 1, at, at - 90000, CASE WHEN costs THEN at - seconds * 1000 END,
    seconds * 1000, seconds, seconds * 1000, (seconds * 70000 + 59) / 60, 0, 0, 0, '', CASE WHEN costs THEN '16' ELSE 'insufficient_credits' END,
    60000, 0, 70000, 0, 1, 1, 70000, 7200,
    '+31850835037', printf('+49301%06d', n % 1000000), '', '', '0b4d7a34-6d0e-4c3e-8f53-2e8b1a6a9c11',
    'byok', 'default@1', '49', 'EUR', at + 1000
FROM (
    SELECT value AS n, CASE WHEN value % 11 = 0 THEN 'small-' || value / 11 % 50 ELSE 'busy' END AS account,
        CASE value % 20 WHEN 1 THEN 'rejected' WHEN 2 THEN 'released' WHEN 3 THEN 'lost' ELSE 'settled' END AS status,
        value % 20 NOT IN (1, 2) AS costs,
        CASE WHEN value % 20 IN (1, 2) THEN 0 ELSE 10 + value % 80 END AS seconds,
        1764547200000 + value * 2434 AS at
    FROM series WHERE value > 0
) AS made;

INSERT INTO account_hours (account, hour, settled, lost, released, rejected, seconds, units, micros, extra_units, extra_micros)
SELECT account, created_at - created_at % 3600000, count(*) FILTER (WHERE status = 'settled'), count(*) FILTER (WHERE status = 'lost'),
    count(*) FILTER (WHERE status = 'released'), count(*) FILTER (WHERE status = 'rejected'),
    sum(duration_sec), sum(units), sum(micros), 0, 0
FROM calls GROUP BY 1, 2;
UPDATE account_sums
SET settled_units = c.units, seq = c.seq, settled = c.settled, lost = c.lost, released = c.released, rejected = c.rejected
FROM (
    SELECT account, sum(units) AS units, max(seq) AS seq, count(*) FILTER (WHERE status = 'settled') AS settled,
        count(*) FILTER (WHERE status = 'lost') AS lost, count(*) FILTER (WHERE status = 'released') AS released,
        count(*) FILTER (WHERE status = 'rejected') AS rejected
    FROM calls GROUP BY account
) AS c WHERE c.account = account_sums.account;
UPDATE account_sums SET granted_units = 4000000000000, grants = 2000 WHERE account = 'busy';
