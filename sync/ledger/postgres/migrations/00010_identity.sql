-- +goose Up

-- Which ledger this is, made once: sidecars that share a Redis must share a ledger, and tell it by this.
CREATE TABLE ledger_identity (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id  text    NOT NULL
);
INSERT INTO ledger_identity (id) VALUES (replace(gen_random_uuid()::text, '-', ''));
