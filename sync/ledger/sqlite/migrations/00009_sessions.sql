-- +goose Up

-- Who is signed in to the billing page. Of tokens only the SHA-256 is kept.
CREATE TABLE portal_sessions (
    hash       BLOB    NOT NULL PRIMARY KEY,
    account    TEXT    NOT NULL REFERENCES accounts (id),
    key_id     TEXT    NOT NULL, -- the API key it was begun with; empty: a sign-in link
    csrf       BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX portal_sessions_expires ON portal_sessions (expires_at);

CREATE TABLE sign_in_links (
    hash       BLOB    NOT NULL PRIMARY KEY,
    account    TEXT    NOT NULL REFERENCES accounts (id),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_in_links_expires ON sign_in_links (expires_at);
