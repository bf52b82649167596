-- +goose Up

-- What language a purchase's invoice is in (nl, de); empty: English. It is kept, as a request that is repeated has to say the same.
ALTER TABLE purchases ADD COLUMN language text NOT NULL DEFAULT '';
