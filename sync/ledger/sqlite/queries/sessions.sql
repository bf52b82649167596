-- Sessions of the billing page, and links that begin one.

-- name: session_insert
INSERT INTO portal_sessions (hash, account, key_id, csrf, created_at, expires_at, seen_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- A session lives no longer than the API key it was begun with.
-- name: session
SELECT hash, account, key_id, csrf, created_at, expires_at, seen_at
FROM portal_sessions
WHERE hash = $1 AND expires_at > $2
  AND (key_id = '' OR EXISTS (
      SELECT 1 FROM api_keys k
      WHERE k.id = key_id AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2)))

-- name: session_seen
UPDATE portal_sessions SET seen_at = $2 WHERE hash = $1 AND seen_at < $2

-- name: session_delete
DELETE FROM portal_sessions WHERE hash = $1

-- name: sessions_drop
DELETE FROM portal_sessions WHERE expires_at <= $1

-- name: sign_in_link_insert
INSERT INTO sign_in_links (hash, account, created_at, expires_at) VALUES ($1, $2, $3, $4)

-- name: sign_in_link_use
UPDATE sign_in_links SET used_at = $2 WHERE hash = $1 AND used_at IS NULL AND expires_at > $2
RETURNING account

-- name: sign_in_links_drop
DELETE FROM sign_in_links WHERE expires_at <= $1
