package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// keyBook keeps the keys of one account, acme, in memory.
type keyBook struct{ keys []ledger.APIKey }

func (b *keyBook) find(id string) (*ledger.APIKey, error) {
	for i := range b.keys {
		if b.keys[i].ID == id {
			return &b.keys[i], nil
		}
	}
	return &ledger.APIKey{}, fmt.Errorf("API key %s: %w", id, ledger.ErrNotFound)
}

func (b *keyBook) Key(_ context.Context, id string) (ledger.APIKey, error) {
	k, err := b.find(id)
	return *k, err
}

func (b *keyBook) Keys(context.Context, string) ([]ledger.APIKey, error) { return b.keys, nil }

func (b *keyBook) AddKey(_ context.Context, k ledger.APIKey) (ledger.APIKey, int64, error) {
	if k.Account != "acme" {
		return k, 0, fmt.Errorf("account %s: %w", k.Account, ledger.ErrNotFound)
	}
	k.ID = fmt.Sprintf("key-%d", len(b.keys)+1)
	b.keys = append(b.keys, k)
	return k, 1, nil
}

func (b *keyBook) RevokeKey(_ context.Context, id string) (ledger.APIKey, int64, error) {
	k, err := b.find(id)
	k.Revoked = noon
	return *k, 1, err
}

func (b *keyBook) ExpireKey(_ context.Context, id string, at time.Time) (ledger.APIKey, int64, error) {
	k, err := b.find(id)
	k.Expires = at
	return *k, 1, err
}
