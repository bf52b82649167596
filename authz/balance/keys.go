package balance

import (
	"fmt"
	"strconv"

	"github.com/hmsovereign/ringfence/authz"
)

const (
	deploymentKey = "rf:{sys}:deployment"
	sidecarsKey   = "rf:{sys}:sidecars"
	leasesKey     = "rf:{sys}:leases"
)

// Partition is where an account (or, for the index, a call key) lives: FNV-1a
// of its text, modulo the deployment's partitions.
func Partition(s string, partitions int) int {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return int(h % uint32(partitions))
}

// tags are the "rf:{pNN}:" prefixes, made once.
func tags(partitions int) []string {
	t := make([]string, partitions)
	for i := range t {
		t[i] = fmt.Sprintf("rf:{p%02d}:", i)
	}
	return t
}

func (s *Store) tag(account string) string        { return s.tags[Partition(account, s.partitions)] }
func (s *Store) accountKey(account string) string { return s.tag(account) + "a:" + account }
func (s *Store) outboxKey(account string) string  { return s.outboxes[Partition(account, s.partitions)] }

// OutboxKey is the stream of records of a partition.
func (s *Store) OutboxKey(partition int) string { return s.outboxes[partition] }

func (s *Store) accountsKey(partition int) string { return s.tags[partition] + "accounts" }
func (s *Store) indexKey(k authz.Key) string      { return s.indexKeyOf(k.String()) }

// indexKeyOf is indexKey of a key's text.
func (s *Store) indexKeyOf(k string) string { return s.indexes[Partition(k, s.partitions)] }

// Partitions is how many the deployment has.
func (s *Store) Partitions() int { return s.partitions }

// field is a call's name in its account's hash.
func field(k authz.Key) string {
	return "c:" + k.Switch + ":" + k.Direction.String() + ":" + k.CallID
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
