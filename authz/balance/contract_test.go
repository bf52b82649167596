package balance_test

import (
	"testing"

	"github.com/hmsovereign/ringfence/authz/balance"
)

// clause is one thing that the store promises, on whatever Redis.
type clause struct {
	name  string
	holds func(*rig)
}

// rejectedPerMinute keeps the test of the cap short.
const rejectedPerMinute = 3

var cfg = balance.Config{RejectedPerMinute: rejectedPerMinute, Wanted: wanted}

// run checks every clause, each on an account of its own.
func run(t *testing.T, b backend) {
	for _, clauses := range [][]clause{authorizeClauses, limitClauses, answerClauses, settleClauses, onceClauses, priceClauses, ownerClauses, accountClauses, rebuildClauses, noticeClauses} {
		for _, c := range clauses {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.holds(newRig(t, b, cfg))
			})
		}
	}
}

func TestContractRedis(t *testing.T)     { t.Parallel(); run(t, onRedis(t)) }
func TestContractMiniredis(t *testing.T) { t.Parallel(); run(t, onMiniredis(t)) }
func TestContractCluster(t *testing.T)   { t.Parallel(); run(t, onCluster(t)) }
func TestContractSentinel(t *testing.T)  { t.Parallel(); run(t, onSentinel(t)) }
