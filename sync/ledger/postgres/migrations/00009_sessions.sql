-- +goose Up

-- Who is signed in to the billing page. Of tokens only the SHA-256 is kept.
CREATE TABLE portal_sessions (
    hash       bytea PRIMARY KEY,
    account    text        NOT NULL REFERENCES accounts (id),
    key_id     text        NOT NULL, -- the API key it was begun with; empty: a sign-in link
    csrf       bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL
);
CREATE INDEX portal_sessions_expires ON portal_sessions (expires_at);

CREATE TABLE sign_in_links (
    hash       bytea PRIMARY KEY,
    account    text        NOT NULL REFERENCES accounts (id),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX sign_in_links_expires ON sign_in_links (expires_at);
