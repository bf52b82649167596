package balance

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// Claim takes a call over: its epoch changes from one to another. Errors:
// authz.ErrFenced (another was faster), ErrCallEnded, ErrUnknownCall, ErrLost, ErrDown.
func (s *Store) Claim(ctx context.Context, account string, k authz.Key, from, to int64) (authz.Call, error) {
	r, err := s.run(ctx, s.scripts.claim, []string{s.accountKey(account)}, field(k), from, to)
	if err != nil {
		return authz.Call{}, err
	}
	return authz.ParseCall(account, k, r.str(1))
}

// Prove notes a proof of life of a call that another sidecar owns. Errors:
// authz.ErrCallEnded, ErrUnknownCall, ErrLost, ErrDown.
func (s *Store) Prove(ctx context.Context, account string, k authz.Key, at int64) (authz.Call, error) {
	r, err := s.run(ctx, s.scripts.prove, []string{s.accountKey(account)}, field(k), at)
	if err != nil {
		return authz.Call{}, err
	}
	return authz.ParseCall(account, k, r.str(1))
}

// Kill flags a call for its end, which its owner carries out. Errors:
// authz.ErrCallEnded, ErrUnknownCall, ErrLost, ErrDown.
func (s *Store) Kill(ctx context.Context, account string, k authz.Key) (authz.Call, error) {
	r, err := s.run(ctx, s.scripts.kill, []string{s.accountKey(account)}, field(k))
	if err != nil {
		return authz.Call{}, err
	}
	return authz.ParseCall(account, k, r.str(1))
}

// Call reads one call (or end-mark). Errors: authz.ErrUnknownCall, ErrDown.
func (s *Store) Call(ctx context.Context, account string, k authz.Key) (authz.Call, error) {
	v, err := s.rdb.HGet(ctx, s.accountKey(account), field(k)).Result()
	if errors.Is(err, redis.Nil) {
		return authz.Call{}, fmt.Errorf("call %s of %s: %w", k, account, authz.ErrUnknownCall)
	}
	if err != nil {
		return authz.Call{}, classify("read call", err)
	}
	return authz.ParseCall(account, k, v)
}

// Calls goes through an account's calls, tombstones and end-marks included, a
// page at a time. A call that changes meanwhile may come twice. A field that
// cannot be read is given with a zero State and its error.
func (s *Store) Calls(ctx context.Context, account string, fn func(authz.Call, error) error) error {
	var cursor uint64
	for {
		kv, next, err := s.rdb.HScan(ctx, s.accountKey(account), cursor, "c:*", 500).Result()
		if err != nil {
			return classify("scan calls", err)
		}
		for i := 0; i+1 < len(kv); i += 2 {
			k, err := authz.ParseKey(strings.TrimPrefix(kv[i], "c:"))
			c := authz.Call{Key: k, Account: account}
			if err == nil {
				var parsed authz.Call
				if parsed, err = authz.ParseCall(account, k, kv[i+1]); err == nil {
					c = parsed
				}
			}
			if err := fn(c, err); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// Reap removes those of the calls whose tombstone or end-mark is over.
func (s *Store) Reap(ctx context.Context, account string, now, keepMS int64, keys []authz.Key) (int64, error) {
	args := []any{now, keepMS}
	for _, k := range keys {
		args = append(args, field(k))
	}
	v, err := s.answer(ctx, s.scripts.reap, []string{s.accountKey(account)}, args...)
	if err != nil {
		return 0, err
	}
	n, _ := v.(int64)
	return n, nil
}

// OpenAccount makes an account with no credit; one that is there stays as it is.
func (s *Store) OpenAccount(ctx context.Context, account string, status authz.AccountStatus, day int64) error {
	if err := known(status); err != nil {
		return err
	}
	_, err := s.answer(ctx, s.scripts.open, []string{s.accountKey(account), s.accountsKey(Partition(account, s.partitions))},
		account, string(status), day)
	return err
}

// SetStatus suspends or resumes an account at once, for every sidecar. Errors:
// authz.ErrLost, ErrDown.
func (s *Store) SetStatus(ctx context.Context, account string, status authz.AccountStatus) error {
	if err := known(status); err != nil {
		return err
	}
	_, err := s.run(ctx, s.scripts.status, []string{s.accountKey(account)}, string(status))
	return err
}

// known refuses a status that the scripts would not understand.
func known(status authz.AccountStatus) error {
	if status != authz.Active && status != authz.Suspended {
		return fmt.Errorf("account status %q is not %s or %s", status, authz.Active, authz.Suspended)
	}
	return nil
}

// ErrGap: an earlier grant is not applied yet.
var ErrGap = errors.New("an earlier grant is not applied yet")

// Grant applies a numbered grant; one that had been applied changes nothing
// (applied false). Errors: ErrGap, authz.ErrLost, ErrDown.
func (s *Store) Grant(ctx context.Context, account string, number int64, units credit.Units) (applied bool, err error) {
	r, err := s.run(ctx, s.scripts.grant, []string{s.accountKey(account)}, number, int64(units))
	if err != nil {
		return false, err
	}
	switch r.str(0) {
	case "gap":
		return false, fmt.Errorf("grant %d of %s, last applied %d: %w", number, account, r.int(1), ErrGap)
	case "done":
		return false, nil
	}
	return true, nil
}

// Balance reads an account's credit. Errors: authz.ErrLost, ErrDown.
func (s *Store) Balance(ctx context.Context, account string) (authz.Balance, error) {
	v, err := s.rdb.HMGet(ctx, s.accountKey(account), "books", "rejects").Result()
	if err != nil {
		return authz.Balance{}, classify("read balance", err)
	}
	books, ok := v[0].(string)
	if !ok {
		return authz.Balance{}, fmt.Errorf("balance of %s: %w", account, authz.ErrLost)
	}
	f := strings.Split(books, " ")
	if len(f) != 10 {
		return authz.Balance{}, fmt.Errorf("balance of %s: %d books: %w", account, len(f), ErrCorrupt)
	}
	var n [9]int64
	for i := range n {
		if n[i], err = strconv.ParseInt(f[i], 10, 64); err != nil {
			return authz.Balance{}, fmt.Errorf("balance of %s: %q: %w", account, f[i], ErrCorrupt)
		}
	}
	b := authz.Balance{Available: credit.Units(n[0]), Held: credit.Units(n[1]), Seq: n[2], Calls: n[3], Day: n[4], SpentDay: credit.Units(n[5]),
		Settled: credit.Units(n[6]), Granted: credit.Units(n[7]), GrantSeq: n[8], Suspended: !strings.HasPrefix(f[9], string(authz.Active))} // active@<when it opens>: being rebuilt
	if rejects, ok := v[1].(string); ok {
		_, uncounted, _ := strings.Cut(rejects[strings.IndexByte(rejects, ' ')+1:], " ")
		b.RejectedN, _ = strconv.ParseInt(uncounted, 10, 64)
	}
	return b, nil
}

// Accounts goes through the accounts of a partition.
func (s *Store) Accounts(ctx context.Context, partition int, fn func(account string) error) error {
	var cursor uint64
	for {
		ids, next, err := s.rdb.SScan(ctx, s.accountsKey(partition), cursor, "", 500).Result()
		if err != nil {
			return classify("scan accounts", err)
		}
		for _, id := range ids {
			if err := fn(id); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// OutboxLen counts the records of all partitions that wait for the ledger.
func (s *Store) OutboxLen(ctx context.Context) (int64, error) {
	pipe := s.rdb.Pipeline()
	cmds := make([]*redis.IntCmd, s.partitions)
	for i := range cmds {
		cmds[i] = pipe.XLen(ctx, s.outboxes[i])
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, classify("outbox length", err)
	}
	var n int64
	for _, c := range cmds {
		n += c.Val()
	}
	return n, nil
}
