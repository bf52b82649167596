package authz

import (
	"github.com/hmsovereign/ringfence/authz/credit"
)

// Rebuild is what an account is written anew from: the ledger's sums.
type Rebuild struct {
	Token    string // of the rebuild under way in the partition
	Account  string
	Status   AccountStatus
	Day      int64        // the account's date, yyyymmdd
	SpentDay credit.Units // settled on that day
	Granted  credit.Units // of the grants up to GrantSeq
	GrantSeq int64
	Settled  credit.Units
	Seq      int64 // above any that was given out
	OpensAt  int64 // Unix ms: until then new calls are answered as lost; 0 = at once
}

// Burial says what becomes of a call in Redis, while its account is shut: what
// the ledger knows of it, or nothing at all (no Call).
type Burial struct {
	Key  Key
	Call *Call
}

// Fill says whether a partition in Redis is what it was filled to be.
type Fill uint8

const (
	// FillLost: it carries no mark. Redis lost it, or never had it.
	FillLost Fill = iota
	// FillStale: it was filled under another Redis process, which may have known
	// more than this one: a restart or a failover can lose the last writes.
	FillStale
	// FillGood: it was filled under this one.
	FillGood
)

// Tombstone is what stays of a call in Redis after a record of it: enough that
// an end, told again, changes nothing, and that a lost call may still be settled.
func (r *Record) Tombstone() Call {
	c := Call{Key: r.Key, Account: r.Account, UID: r.UID, State: r.State, Flags: r.Flags, Epoch: r.Epoch, CreatedAt: r.CreatedAt,
		ExpiresAt: r.CreatedAt, AnsweredAt: r.AnsweredAt, OverAt: max(r.At, r.CreatedAt), Charged: r.Charged(), ExtraMicros: r.ExtraMicros,
		Price: r.Price, MaxSeconds: r.MaxSeconds}
	if r.State != StateSettled {
		c.Detail = r.Detail
	}
	if r.State == StateLost {
		c.ProofAt = r.At
	}
	return c
}
