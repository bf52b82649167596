package authz

import (
	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz/credit"
)

// Rebuild is what an account is written anew from: the ledger's sums.
type Rebuild struct {
	Account      string
	Status       AccountStatus
	Day          int64        // the account's date, yyyymmdd
	SpentDay     credit.Units // settled on that day
	Granted      credit.Units // of the grants up to GrantSeq
	GrantSeq     int64
	Settled      credit.Units
	Seq          int64       // above any that was seen
	OpensAt      int64       // Unix ms: until then new calls are answered as lost; 0 = at once
	Force        bool        // write it even where it is there: it is known to be wrong
	SettledCalls []uuid.UUID // calls that the ledger has settled, and Redis may still think alive
}
