-- +goose Up

-- What the customer was shown that a purchase costs, VAT included, in the currency's smallest unit; 0: that was not kept.
ALTER TABLE purchases ADD COLUMN quoted INTEGER NOT NULL DEFAULT 0 CHECK (quoted >= 0);
