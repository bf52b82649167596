-- Accounts, numbers, API keys and tariffs.

-- name: revision_next
UPDATE directory_revision SET revision = revision + 1 RETURNING revision

-- name: revision
SELECT revision FROM directory_revision

-- name: account_columns
id, company_name, email, status, currency, tariff, language, time_zone, max_calls, max_seconds, spend_per_day, created_at, revision

-- An account with what follows from its webhooks and alerts.
-- name: account_shown
/*=account_columns*/,
(SELECT count(*) FROM webhooks WHERE webhooks.account = accounts.id),
COALESCE((SELECT below_units FROM alerts WHERE alerts.account = accounts.id), 0)

-- name: account_insert
INSERT INTO accounts (/*=account_columns*/)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)

-- name: account_update
UPDATE accounts
SET company_name = $2, email = $3, status = $4, currency = $5, tariff = $6, language = $7, time_zone = $8,
    max_calls = $9, max_seconds = $10, spend_per_day = $11, created_at = $12, revision = $13
WHERE id = $1

-- name: account
SELECT /*=account_shown*/ FROM accounts WHERE id = $1

-- name: account_locked
SELECT /*=account_shown*/ FROM accounts WHERE id = $1

-- name: accounts
SELECT /*=account_shown*/ FROM accounts ORDER BY id

-- name: accounts_changed
SELECT /*=account_shown*/ FROM accounts WHERE revision > $1 ORDER BY id

-- name: number_columns
id, e164, account, name, created_at, removed_at, revision

-- name: number_insert
INSERT INTO numbers (id, e164, account, name, created_at, revision) VALUES ($1, $2, $3, $4, $5, $6)

-- name: number_rename
UPDATE numbers SET name = $2, revision = $3 WHERE e164 = $1 AND removed_at IS NULL
RETURNING /*=number_columns*/

-- name: number_remove
UPDATE numbers SET removed_at = $2, revision = $3 WHERE e164 = $1 AND removed_at IS NULL
RETURNING /*=number_columns*/

-- name: number
SELECT /*=number_columns*/ FROM numbers WHERE e164 = $1 AND removed_at IS NULL

-- name: numbers
SELECT /*=number_columns*/ FROM numbers WHERE removed_at IS NULL ORDER BY e164

-- name: numbers_of_account
SELECT /*=number_columns*/ FROM numbers WHERE account = $1 AND removed_at IS NULL ORDER BY e164

-- name: numbers_changed
SELECT /*=number_columns*/ FROM numbers WHERE revision > $1 ORDER BY revision, e164

-- name: key_columns
id, account, name, prefix, hash, created_at, expires_at, revoked_at, last_used_at, revision

-- name: key_insert
INSERT INTO api_keys (id, account, name, prefix, hash, created_at, expires_at, revision)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: key
SELECT /*=key_columns*/ FROM api_keys WHERE id = $1

-- name: key_by_hash
SELECT /*=key_columns*/ FROM api_keys WHERE hash = $1

-- name: keys
SELECT /*=key_columns*/ FROM api_keys ORDER BY account, created_at, id

-- name: keys_of_account
SELECT /*=key_columns*/ FROM api_keys WHERE account = $1 ORDER BY created_at, id

-- name: keys_changed
SELECT /*=key_columns*/ FROM api_keys WHERE revision > $1 ORDER BY revision, id

-- The first revocation stands.
-- name: key_revoke
UPDATE api_keys SET revoked_at = COALESCE(revoked_at, $2), revision = $3 WHERE id = $1
RETURNING /*=key_columns*/

-- name: key_expire
UPDATE api_keys SET expires_at = $2, revision = $3 WHERE id = $1
RETURNING /*=key_columns*/

-- name: key_touch
UPDATE api_keys SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)

-- name: tariff_insert
INSERT INTO tariffs (id, version, body, created_at, revision) VALUES ($1, $2, $3, $4, $5)

-- name: tariff_version
SELECT body, revision FROM tariffs WHERE id = $1 AND version = $2

-- name: tariff_latest
SELECT body, revision FROM tariffs WHERE id = $1 ORDER BY version DESC LIMIT 1

-- name: tariffs_latest
SELECT body, revision FROM tariffs AS t
WHERE version = (SELECT max(version) FROM tariffs WHERE id = t.id)
ORDER BY id

-- name: tariffs_changed
SELECT body, revision FROM tariffs WHERE revision > $1 ORDER BY id, version
