package balance

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
)

// Register takes a sidecar's name with a new fencing epoch, until the lease's
// end (Unix ms). An earlier incarnation of the name loses it. The new epoch is
// above the one this Store had before: a Redis that lost its register must not
// hand out an old one.
func (s *Store) Register(ctx context.Context, name string, until int64) (epoch int64, err error) {
	if epoch, err = s.register(ctx, name, 0, until, s.epoch.Load()); err == nil {
		s.epoch.Store(epoch)
	}
	return epoch, err
}

// Renew prolongs the lease. Errors: authz.ErrFenced (another sidecar registered
// under the name), ErrLost (Redis has lost the register), ErrDown.
func (s *Store) Renew(ctx context.Context, name string, epoch, until int64) error {
	got, err := s.register(ctx, name, epoch, until, 0)
	if err == nil && got < 0 {
		return authz.ErrLost
	}
	if err == nil && got != epoch {
		return authz.ErrFenced
	}
	return err
}

func (s *Store) register(ctx context.Context, name string, epoch, until, above int64) (int64, error) {
	v, err := s.answer(ctx, s.scripts.register, []string{sidecarsKey}, name, epoch, until, above)
	if err != nil {
		return 0, err
	}
	r, _ := v.([]any)
	return reply(r).int(0), nil
}

// Living tells the epochs whose lease is not over at now. A call of any other
// epoch may be claimed.
func (s *Store) Living(ctx context.Context, now int64) (map[int64]bool, error) {
	all, err := s.rdb.HGetAll(ctx, sidecarsKey).Result()
	if err != nil {
		return nil, classify("list sidecars", err)
	}
	alive := map[int64]bool{}
	for name, v := range all {
		if !strings.HasPrefix(name, "name:") {
			continue
		}
		e, until, _ := strings.Cut(v, " ")
		epoch, err1 := strconv.ParseInt(e, 10, 64)
		t, err2 := strconv.ParseInt(until, 10, 64)
		if err1 == nil && err2 == nil && t > now {
			alive[epoch] = true
		}
	}
	return alive, nil
}

// Lease takes or prolongs a named lease until a time (Unix ms); until <= now
// gives it up. It tells whether the holder has it.
func (s *Store) Lease(ctx context.Context, name, holder string, now, until int64) (bool, error) {
	v, err := s.answer(ctx, s.scripts.lease, []string{leasesKey}, name, holder, now, until)
	if err != nil {
		return false, err
	}
	return v == int64(1), nil
}

// Indexed says where a call is: what recovery needs when the event that ends it
// names no account, or its owner is gone.
type Indexed = authz.Indexed

// Index notes calls in the live index, and removes those that are over, in one
// round trip. It is written off the decision path; what it misses the sweep finds.
func (s *Store) Index(ctx context.Context, put []Indexed, del []authz.Key) error {
	if len(put)+len(del) == 0 {
		return nil
	}
	// One command for each partition, puts before deletions: a command costs Redis
	// and the driver more than a field does.
	pipe := s.rdb.Pipeline()
	puts, dels := map[string][]any{}, map[string][]string{}
	texts := make([]string, 0, 2*len(put))
	for _, x := range put {
		name := x.Key.String()
		texts = append(texts, name, itoa(x.Epoch)+" "+x.Account)
		key := s.indexKeyOf(name)
		puts[key] = append(puts[key], &texts[len(texts)-2], &texts[len(texts)-1])
	}
	for key, fields := range puts {
		pipe.HSet(ctx, key, fields...)
	}
	for _, k := range del {
		name := k.String()
		key := s.indexKeyOf(name)
		dels[key] = append(dels[key], name)
	}
	for key, fields := range dels {
		pipe.HDel(ctx, key, fields...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return classify("write index", err)
	}
	return nil
}

// Find looks a call's account up in the live index. Errors: authz.ErrUnknownCall, ErrDown.
func (s *Store) Find(ctx context.Context, k authz.Key) (account string, err error) {
	v, err := s.rdb.HGet(ctx, s.indexKey(k), k.String()).Result()
	if errors.Is(err, redis.Nil) {
		return "", authz.ErrUnknownCall
	}
	if err != nil {
		return "", classify("read index", err)
	}
	_, account, ok := strings.Cut(v, " ")
	if !ok {
		return "", authz.ErrUnknownCall
	}
	return account, nil
}

// ScanIndex goes through one partition of the live index.
func (s *Store) ScanIndex(ctx context.Context, partition int, fn func(Indexed) error) error {
	var cursor uint64
	for {
		kv, next, err := s.rdb.HScan(ctx, s.tags[partition]+"index", cursor, "", 500).Result()
		if err != nil {
			return classify("scan index", err)
		}
		for i := 0; i+1 < len(kv); i += 2 {
			k, err := authz.ParseKey(kv[i])
			if err != nil {
				continue
			}
			e, account, _ := strings.Cut(kv[i+1], " ")
			epoch, err := strconv.ParseInt(e, 10, 64)
			if err != nil {
				continue
			}
			if err := fn(Indexed{Key: k, Account: account, Epoch: epoch}); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}
