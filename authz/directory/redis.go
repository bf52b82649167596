package directory

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// The keys; all in one slot.
const (
	keyMeta     = "rf:{dir}:meta"
	keyChanges  = "rf:{dir}:changes"
	keyAccounts = "rf:{dir}:accounts"
	keyNumbers  = "rf:{dir}:numbers"
	keyTariffs  = "rf:{dir}:tariffs"
	keyStage    = "rf:{dir}:stage"
)

var hashes = map[Kind]string{KindAccount: keyAccounts, KindNumber: keyNumbers, KindTariff: keyTariffs}

const (
	changesKept  = 10_000 // entries of the stream: what a sidecar may have missed without reading everything again
	changesAsked = 500
	scanCount    = 1000
	stageCount   = 500
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

type scripts struct {
	poll, put, begin, stage, commit *redis.Script
}

func loadScripts() (*scripts, error) {
	common, err := scriptFiles.ReadFile("scripts/common.lua")
	if err != nil {
		return nil, err
	}
	get := func(name string) *redis.Script {
		body, e := scriptFiles.ReadFile("scripts/" + name + ".lua")
		if e != nil {
			err = e
			return nil
		}
		return redis.NewScript(string(common) + string(body))
	}
	s := &scripts{poll: get("poll"), put: get("put"), begin: get("begin"), stage: get("stage"), commit: get("commit")}
	return s, err
}

// Redis is the directory as sidecars share it: a Source and a Mirror. It works
// on one node, through Sentinel, on Redis Cluster and on miniredis.
type Redis struct {
	rdb     redis.UniversalClient
	kept    int
	scripts *scripts

	mu  sync.Mutex
	gen string // the filling last seen, "" for none yet
}

// RedisOption changes a Redis.
type RedisOption func(*Redis)

// KeepChanges bounds the stream of changes, 10,000 by default. A sidecar that
// was away for longer reads everything again.
func KeepChanges(n int) RedisOption { return func(r *Redis) { r.kept = n } }

// NewRedis makes the mirror over a client, which stays the caller's to close.
// The client should have ContextTimeoutEnabled, so that deadlines hold.
func NewRedis(rdb redis.UniversalClient, options ...RedisOption) (*Redis, error) {
	s, err := loadScripts()
	if err != nil {
		return nil, fmt.Errorf("load directory scripts: %w", err)
	}
	r := &Redis{rdb: rdb, kept: changesKept, scripts: s}
	for _, o := range options {
		o(r)
	}
	return r, nil
}

// known is the filling that was last seen: where it is gone, nothing may be
// written as if there never had been one.
func (r *Redis) known() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gen
}

func (r *Redis) saw(gen string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gen = gen
}

// run runs a script and gives its reply as text.
func (r *Redis) run(ctx context.Context, what string, s *redis.Script, keys []string, args ...any) ([]string, error) {
	v, err := s.Run(ctx, r.rdb, keys, args...).Result()
	if err != nil {
		return nil, unavailable(what, err)
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	out := make([]string, len(list))
	for i, item := range list {
		switch x := item.(type) {
		case string:
			out[i] = x
		case int64:
			out[i] = strconv.FormatInt(x, 10)
		default:
			return nil, fmt.Errorf("%s: reply %d of the script is a %T", what, i, item)
		}
	}
	return out, nil
}

func unavailable(what string, err error) error {
	return fmt.Errorf("%s: %w: %w", what, ErrUnavailable, err)
}

// Put mirrors a change that is recorded elsewhere. Errors: ErrLost (fill Redis
// with Replace), ErrUnavailable.
func (r *Redis) Put(ctx context.Context, c Change) error {
	v, err := c.value()
	if err != nil {
		return err
	}
	what := "mirror " + string(c.Kind) + " " + shown(c.Kind, c.Key)
	reply, err := r.run(ctx, what, r.scripts.put, []string{keyMeta, keyChanges, hashes[c.Kind], keyStage},
		string(c.Kind), c.Key, c.Rev, v, r.kept)
	if err != nil {
		return err
	}
	if reply[0] == "lost" {
		return fmt.Errorf("%s: %w", what, ErrLost)
	}
	return nil
}

// Changes gives what changed after a position. Errors: ErrGap, ErrLost, ErrUnavailable.
func (r *Redis) Changes(ctx context.Context, after Position) (Batch, error) {
	if after.Gen != "" && r.known() == "" {
		r.saw(after.Gen) // of a snapshot
	}
	const what = "ask Redis for changes of the directory"
	reply, err := r.run(ctx, what, r.scripts.poll, []string{keyMeta, keyChanges, keyAccounts, keyNumbers, keyTariffs},
		after.Gen, after.N, changesAsked)
	if err != nil {
		return Batch{}, err
	}
	switch reply[0] {
	case "lost":
		return Batch{}, ErrLost
	case "gap":
		return Batch{}, ErrGap
	}
	n, err := strconv.ParseInt(reply[1], 10, 64)
	if err != nil {
		return Batch{}, fmt.Errorf("%s: %w", what, err)
	}
	b := Batch{Next: Position{Gen: after.Gen, N: n}, More: reply[2] == "1"}
	for i := 3; i+2 < len(reply); i += 3 {
		c, err := parseChange(Kind(reply[i]), reply[i+1], reply[i+2])
		if err != nil {
			b.Unreadable = append(b.Unreadable, err)
			continue
		}
		b.Changes = append(b.Changes, c)
	}
	return b, nil
}

// Load gives everything. Errors: ErrLost, ErrUnavailable.
func (r *Redis) Load(ctx context.Context) (Image, error) {
	pos, complete, err := r.position(ctx)
	if err != nil {
		return Image{}, err
	}
	image := Image{Position: pos, Complete: complete}
	for _, kind := range kinds {
		if err := r.scan(ctx, kind, &image); err != nil {
			return Image{}, err
		}
	}
	// What changed since is asked for next. But a Redis that was emptied or
	// filled anew meanwhile was read in halves.
	after, _, err := r.position(ctx)
	if err != nil {
		return Image{}, err
	}
	if after.Gen != pos.Gen || after.N < pos.N {
		return Image{}, unavailable("load the directory", errors.New("it was filled anew while it was read"))
	}
	r.saw(pos.Gen)
	return image, nil
}

func (r *Redis) position(ctx context.Context) (pos Position, complete bool, err error) {
	const what = "read the directory's position"
	m, err := r.rdb.HMGet(ctx, keyMeta, "gen", "n", "complete").Result()
	if err != nil {
		return pos, false, unavailable(what, err)
	}
	gen, ok := m[0].(string)
	count, _ := m[1].(string)
	if !ok {
		return pos, false, ErrLost
	}
	n, err := strconv.ParseInt(cmp.Or(count, "0"), 10, 64)
	if err != nil {
		return pos, false, fmt.Errorf("%s: %w", what, err)
	}
	return Position{Gen: gen, N: n}, m[2] == "1", nil
}

// scan adds a kind's entries to an image. What is there all along comes at least once.
func (r *Redis) scan(ctx context.Context, kind Kind, image *Image) error {
	var cursor uint64
	for {
		page, next, err := r.rdb.HScan(ctx, hashes[kind], cursor, "", scanCount).Result()
		if err != nil {
			return unavailable("load the directory", err)
		}
		for i := 0; i+1 < len(page); i += 2 {
			c, err := parseChange(kind, page[i], page[i+1])
			if err != nil {
				image.Unreadable = append(image.Unreadable, err)
				continue
			}
			image.Entries = append(image.Entries, c)
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// Replace fills Redis anew from the durable truth: read must give all of it as
// it is when called. Every sidecar then takes it over as complete. Where the
// directory changed meanwhile nothing is replaced. Errors: ErrConflict (do it
// again), ErrUnavailable, those of read.
func (r *Redis) Replace(ctx context.Context, read func(ctx context.Context) ([]Change, error)) error {
	token := uuid.NewString()
	staged := map[Kind]string{}
	for _, kind := range kinds {
		staged[kind] = keyStage + ":" + string(kind)
	}
	stageKeys := []string{staged[KindAccount], staged[KindNumber], staged[KindTariff]}
	before, err := r.run(ctx, "begin to fill the directory", r.scripts.begin, append([]string{keyMeta, keyStage}, stageKeys...), token)
	if err != nil {
		return err
	}
	changes, err := read(ctx)
	if err != nil {
		return fmt.Errorf("read what the directory is filled with: %w", err)
	}
	moved := fmt.Errorf("fill the directory: it changed meanwhile: %w", ErrConflict)
	for _, kind := range kinds {
		args := []any{token}
		flush := func() error {
			if len(args) == 1 {
				return nil
			}
			reply, err := r.run(ctx, "fill the directory", r.scripts.stage, []string{keyStage, staged[kind]}, args...)
			if err == nil && reply[0] != "1" {
				err = moved
			}
			args = args[:1]
			return err
		}
		for i := range changes {
			c := &changes[i]
			if c.Kind != kind {
				continue
			}
			v, err := c.value()
			if err != nil {
				return err
			}
			if args = append(args, c.Key, entry(c.Rev, v)); len(args) > 2*stageCount {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		if err := flush(); err != nil {
			return err
		}
	}
	keys := append([]string{keyMeta, keyStage, keyChanges, keyAccounts, keyNumbers, keyTariffs}, stageKeys...)
	reply, err := r.run(ctx, "fill the directory", r.scripts.commit, keys, token, before[0], before[1], uuid.NewString())
	if err != nil {
		return err
	}
	if reply[0] != "1" {
		return moved
	}
	return nil
}
