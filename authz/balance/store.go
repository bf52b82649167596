package balance

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// Config says how a Store uses its Redis. The zero value of a field means its default.
type Config struct {
	Partitions        int              // fixed when a deployment is made; default 64
	Embedded          bool             // Redis is miniredis: its scripts know no header
	Workers           int              // pipelines under way at once; default 4
	Batch             int              // scripts in one pipeline at most; default 25
	Timeout           time.Duration    // of one round trip; default 1 s
	RejectedPerMinute int              // rejected records per account and minute; default 60
	Retain            func(raw string) // gets each record of a charged call, until the ledger has it; may be nil
	// Wanted says what an account wants to hear of while its calls go on: that one is answered, and (alerts) that credit
	// runs out or falls under a balance (0: none). nil: nobody wants to hear anything.
	Wanted func(account string) (answers, alerts bool, below credit.Units)
}

func (c Config) withDefaults() Config {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.Partitions, 64)
	def(&c.Workers, 4)
	def(&c.Batch, 25)
	def(&c.RejectedPerMinute, 60)
	if c.Timeout == 0 {
		c.Timeout = time.Second
	}
	return c
}

// Store is the balance store. Its methods may be called from any goroutine.
// Errors are those of package authz (ErrDown, ErrLost, ErrUnknownCall ...), wrapped.
type Store struct {
	rdb        redis.UniversalClient
	cfg        Config
	partitions int
	tags       []string
	outboxes   []string
	indexes    []string
	outboxArgs []any // the same, as arguments that cost no allocation
	scripts    *scripts
	pipe       *pipeline
	epoch      atomic.Int64 // the last that Register obtained
	met        *Metrics
	rejected   string
}

// ErrPartitions: the deployment was made with another number of partitions.
var ErrPartitions = errors.New("partitions do not match the deployment's")

// ErrCorrupt: a field of the account's hash is not what the scripts write.
var ErrCorrupt = errors.New("packed call is corrupt")

// New makes a Store on a client, which stays the caller's to close. It does not
// talk to Redis; Check does.
func New(rdb redis.UniversalClient, cfg Config, met *Metrics) (*Store, error) {
	cfg = cfg.withDefaults()
	if cfg.Partitions < 1 || cfg.Partitions > 1024 {
		return nil, fmt.Errorf("partitions %d: must be 1 to 1024", cfg.Partitions)
	}
	sc, err := loadScripts(cfg.Embedded)
	if err != nil {
		return nil, err
	}
	if met == nil {
		met = NewMetrics(nil)
	}
	s := &Store{rdb: rdb, cfg: cfg, partitions: cfg.Partitions, tags: tags(cfg.Partitions), scripts: sc, met: met,
		rejected: strconv.Itoa(cfg.RejectedPerMinute)}
	for _, t := range s.tags {
		s.outboxes = append(s.outboxes, t+"outbox")
		s.indexes = append(s.indexes, t+"index")
		s.outboxArgs = append(s.outboxArgs, t+"outbox")
	}
	s.pipe = newPipeline(rdb, cfg.Workers, cfg.Batch, cfg.Timeout, met)
	return s, nil
}

// Close sends what is queued and stops the store's goroutines.
func (s *Store) Close() { s.pipe.close() }

// Check makes or checks the deployment's mark: the number of partitions is
// fixed for ever. Errors: ErrPartitions, authz.ErrDown.
func (s *Store) Check(ctx context.Context) error {
	if err := s.rdb.HSetNX(ctx, deploymentKey, "partitions", s.partitions).Err(); err != nil {
		return classify("check deployment", err)
	}
	return s.Compare(ctx)
}

// Compare tells whether the number of partitions is the deployment's, and fixes
// nothing where there is none yet. Errors: ErrPartitions, authz.ErrDown.
func (s *Store) Compare(ctx context.Context) error {
	n, err := s.rdb.HGet(ctx, deploymentKey, "partitions").Int()
	switch {
	case errors.Is(err, redis.Nil):
		return nil
	case err != nil:
		return classify("check deployment", err)
	case n != s.partitions:
		return fmt.Errorf("%w: %d are configured, Redis has %d; set redis.partitions: %d", ErrPartitions, s.partitions, n, n)
	}
	return nil
}

// ErrLedger: the deployment's sidecars have another ledger.
var ErrLedger = errors.New("this is another ledger than the deployment's")

// Join makes or checks the deployment's mark of the ledger that all its sidecars
// share: with one of its own, each would write balances that the others do not
// know. Errors: ErrLedger, authz.ErrDown.
func (s *Store) Join(ctx context.Context, ledger string) error {
	if err := s.rdb.HSetNX(ctx, deploymentKey, "ledger", ledger).Err(); err != nil {
		return classify("check deployment", err)
	}
	has, err := s.rdb.HGet(ctx, deploymentKey, "ledger").Result()
	if err != nil && !errors.Is(err, redis.Nil) { // lost since
		return classify("check deployment", err)
	}
	if err == nil && has != ledger {
		return fmt.Errorf("%w: it is %s, and this Redis belongs to the ledger %s; give all sidecars of this Redis the same ledger.url (Postgres; "+
			"an SQLite file is for one sidecar alone), or this one a Redis of its own (redis.url). If the ledger was replaced on purpose: "+
			"stop all sidecars, and redis-cli HDEL %q ledger", ErrLedger, ledger, has, deploymentKey)
	}
	return nil
}

// Ping tells whether Redis answers and takes writes.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.rdb.HSet(ctx, deploymentKey, "ping", time.Now().UnixMilli()).Err(); err != nil {
		return classify("ping", err)
	}
	return nil
}

// reply is a script's answer: a code, then values.
type reply []any

func (r reply) int(i int) int64 {
	if i < len(r) {
		if n, ok := r[i].(int64); ok {
			return n
		}
	}
	return 0
}

func (r reply) str(i int) string {
	if i < len(r) {
		if s, ok := r[i].(string); ok {
			return s
		}
	}
	return ""
}

var codes = map[string]error{
	"lost":       authz.ErrLost,
	"unknown":    authz.ErrUnknownCall,
	"conflict":   authz.ErrCallConflict,
	"ended":      authz.ErrCallEnded,
	"fenced":     authz.ErrFenced,
	"unanswered": authz.ErrNotAnswered,
	"notyet":     authz.ErrNotYet,
	"corrupt":    ErrCorrupt,
}

func parseReply(name string, v any, err error) (reply, error) {
	if err != nil {
		return nil, err
	}
	r, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%s: unexpected answer %T", name, v)
	}
	if e, bad := codes[reply(r).str(0)]; bad {
		return r, fmt.Errorf("%s: %w", name, e)
	}
	return r, nil
}

func (s *Store) run(ctx context.Context, sc *script, keys []string, args ...any) (reply, error) {
	v, err := s.answer(ctx, sc, keys, args...)
	return parseReply(sc.name, v, err)
}

// answer is run for a script whose answer is no reply.
func (s *Store) answer(ctx context.Context, sc *script, keys []string, args ...any) (any, error) {
	o := newOp(ctx, sc)
	o.argv = command(sc, keys, args)
	return s.pipe.run(o)
}

// Command is the script call behind Authorize, for measuring Redis alone with
// the very same script.
type Command struct {
	SHA, Source string
	Keys        []string
	Args        []any
	Until       int64 // talk time of a full slice, ms
}

// Command prepares a hold as its script wants it.
func (s *Store) Command(h *authz.Hold) Command {
	var a authorizeArgs
	until := s.fill(&a, h)
	keys := []string{s.accountKey(h.Account), s.outboxKey(h.Account)}
	return Command{SHA: s.scripts.authorize.sha, Source: s.scripts.authorize.src, Until: until, Keys: keys, Args: a.argv[firstKey+len(keys):]}
}

// fill makes the script's call for a hold, and gives the talk time of a full slice, ms.
func (s *Store) fill(a *authorizeArgs, h *authz.Hold) (until int64) {
	p := h.Price
	least := max(p.Initial, h.MinSeconds)
	slice := max(h.SliceSeconds, least)
	if h.Limits.MaxSeconds > 0 {
		slice = max(min(slice, h.Limits.MaxSeconds), 1)
	}
	c := callOf(h)
	c.State, c.Held, c.Flags, c.Epoch = authz.StateHeld, p.Cost(slice*1000), h.Flags, h.Epoch
	c.UntilMS = p.Affordable(c.Held) * 1000
	partition := Partition(h.Account, s.partitions)
	a.field, a.call, a.deny = field(h.Key), string(c.AppendCall(make([]byte, 0, 512))), string(h.Deny)
	a.now, a.day, a.need, a.hold = h.Now, h.Day, int64(p.Cost(least*1000)), int64(c.Held)
	a.cap, a.calls = int64(h.Limits.SpendPerDay), int64(h.Limits.MaxCalls)
	if h.Dry {
		a.dry = "1"
	}
	a.argv = [...]any{evalSHA, s.scripts.authorize.shaArg, 2, s.tags[partition] + "a:" + h.Account, s.outboxArgs[partition],
		&a.field, &a.call, &a.now, &a.day, &a.need, &a.hold, &a.cap, &a.calls, &a.deny, &a.dry, &s.rejected}
	return c.UntilMS
}

// authorizeArgs are the arguments of a hold's script. They are pointers into one
// allocation, since an interface that holds a number costs one for each.
type authorizeArgs struct {
	field, call, deny, dry           string
	now, day, need, hold, cap, calls int64
	argv                             [firstKey + 2 + 11]any
}

// Authorize checks the account and reserves credit: one round trip. A refusal is
// no error: it is Held.Denied. Errors: authz.ErrLost, authz.ErrDown.
func (s *Store) Authorize(ctx context.Context, h *authz.Hold) (authz.Held, error) {
	sc := s.scripts.authorize
	o := newOp(ctx, sc)
	until := s.fill(&o.args, h)
	o.argv = o.args.argv[:]
	v, err := s.pipe.run(o)
	r, err := parseReply(sc.name, v, err)
	if err != nil {
		return authz.Held{}, err
	}
	held := authz.Held{Denied: authz.Code(r.str(0)), Units: credit.Units(r.int(1)), UntilMS: r.int(2), Budget: credit.Units(r.int(3)),
		Available: credit.Units(r.int(4)), Others: r.int(5), Seq: r.int(6), UID: h.UID, ExpiresAt: r.int(8)}
	switch u := r.str(7); {
	case u != "":
		if held.UID, err = authz.ParseUID(u); err != nil {
			return authz.Held{}, fmt.Errorf("authorize: %w", err)
		}
	case held.Denied != "":
		held.UID = uuid.Nil // an end-mark has none
	}
	if held.Denied != "" {
		return held, nil
	}
	if held.ExpiresAt != 0 { // it was there already
		held.Replayed = held.UID != h.UID // the same uid: this very request, sent twice by the driver
		return held, nil
	}
	held.ExpiresAt = h.ExpiresAt
	if held.UntilMS == 0 {
		held.UntilMS = until
	}
	return held, nil
}

// callOf is the call that a hold asks for.
func callOf(h *authz.Hold) authz.Call {
	return authz.Call{UID: h.UID, CreatedAt: h.Now, ExpiresAt: h.ExpiresAt, Hash: h.Hash, Price: h.Price, MaxSeconds: h.Limits.MaxSeconds, Detail: h.Detail}
}

// Taken is a call as a script left it.
type Taken = authz.Taken

// Answered records the answer of a call; a lapsed hold is taken again as far as
// the credit goes. Errors: authz.ErrUnknownCall, ErrCallConflict, ErrLost, ErrDown.
func (s *Store) Answered(ctx context.Context, a authz.Answer) (Taken, error) {
	keys := []string{s.accountKey(a.Account)}
	if answers, _, _ := s.wanted(a.Account); answers {
		keys = append(keys, s.outboxKey(a.Account))
	}
	r, err := s.run(ctx, s.scripts.answered, keys,
		field(a.Key), a.Now, a.At, a.Day, int64(a.Cap), a.SliceMS, a.Epoch)
	if err != nil {
		return Taken{}, err
	}
	t := Taken{Budget: credit.Units(r.int(3)), Others: r.int(4), Seq: r.int(5), Duplicate: r.int(6) == 1}
	t.Call, err = authz.ParseCall(a.Account, a.Key, r.str(2))
	return t, err
}

// Adopt takes in a call that was let go unchecked. Errors: authz.ErrCallEnded,
// ErrCallConflict, ErrLost, ErrDown.
func (s *Store) Adopt(ctx context.Context, h *authz.Hold) (Taken, error) {
	c := callOf(h)
	slice := h.Price.Affordable(h.Price.Cost(max(h.SliceSeconds, h.Price.Initial)*1000)) * 1000
	r, err := s.run(ctx, s.scripts.adopt, []string{s.accountKey(h.Account)},
		field(h.Key), h.Now, h.Day, int64(h.Limits.SpendPerDay), h.Hash, h.Epoch, slice, string(h.Flags), c.AppendTail(nil))
	if err != nil {
		return Taken{}, err
	}
	t := Taken{Budget: credit.Units(r.int(2)), Others: r.int(3), Seq: r.int(4)}
	t.Call, err = authz.ParseCall(h.Account, h.Key, r.str(1))
	return t, err
}

// Extend buys talk time for many calls in one round trip; each has its own answer.
func (s *Store) Extend(ctx context.Context, xs []authz.Extension) []authz.Extended {
	out := make([]authz.Extended, len(xs))
	ops := make([]*op, len(xs))
	for i, x := range xs {
		a := &extendArgs{field: field(x.Key), now: x.Now, day: x.Day, cap: int64(x.Cap), epoch: x.Epoch, until: x.UntilMS, proof: x.ProofAt}
		a.argv = [...]any{evalSHA, s.scripts.extend.shaArg, 1, s.accountKey(x.Account), &a.field, &a.now, &a.day, &a.cap, &a.epoch, &a.until, &a.proof}
		ops[i] = newOp(ctx, s.scripts.extend)
		ops[i].argv = a.argv[:]
		if _, alerts, below := s.wanted(x.Account); alerts {
			ops[i].argv = command(s.scripts.extend, []string{s.accountKey(x.Account), s.outboxKey(x.Account)}, append(a.argv[firstKey+1:], int64(below)))
		}
	}
	if len(ops) > 0 {
		s.pipe.send(ctx, ops)
	}
	for i, o := range ops {
		v, err := o.result()
		r, err := parseReply(s.scripts.extend.name, v, err)
		out[i] = authz.Extended{Err: err, Units: credit.Units(r.int(1)), UntilMS: r.int(2), Budget: credit.Units(r.int(3)),
			Others: r.int(4), Seq: r.int(5), Killed: r.int(6) == 1, Suspended: r.int(7) == 1}
	}
	return out
}

type extendArgs struct {
	field                              string
	now, day, cap, epoch, until, proof int64
	argv                               [firstKey + 1 + 7]any
}

func (s *Store) wanted(account string) (answers, alerts bool, below credit.Units) {
	if s.cfg.Wanted == nil {
		return false, false, 0
	}
	return s.cfg.Wanted(account)
}

// Settle ends a call. Errors: authz.ErrUnknownCall (an end-mark is left where one
// was asked for), ErrNotAnswered, ErrCallConflict, ErrNotYet (lost, but never
// answered), ErrLost, ErrDown.
func (s *Store) Settle(ctx context.Context, e authz.End) (authz.Settlement, error) {
	lost := ""
	if e.Lost {
		lost = "1"
	}
	r, err := s.run(ctx, s.scripts.settle, []string{s.accountKey(e.Account), s.outboxKey(e.Account)},
		field(e.Key), e.Now, e.ReceivedAt, e.EndedAt, e.AnsweredAt, clean(e.Cause), int64(e.ExtraMicros), e.Day, lost, e.Account, e.MarkUntil)
	if err != nil {
		return authz.Settlement{}, err
	}
	st := authz.Settlement{State: state(r.str(1)), Duplicate: r.int(3) == 1, TalkMS: r.int(4), Units: credit.Units(r.int(5)),
		Micros: credit.Micros(r.int(6)), ExtraUnits: credit.Units(r.int(7)), Overrun: credit.Units(r.int(8)), Flags: authz.Flags(r.str(9)),
		Available: credit.Units(r.int(10)), Seq: r.int(11)}
	if st.UID, err = authz.ParseUID(r.str(2)); err != nil {
		return st, fmt.Errorf("settle: %w", err)
	}
	if !st.Duplicate {
		s.met.closed(&st)
	}
	if raw := r.str(12); raw != "" && s.cfg.Retain != nil {
		s.cfg.Retain(raw)
	}
	return st, nil
}

// Release gives the hold of an unanswered call back. Errors: authz.ErrUnknownCall,
// ErrNotYet (answered, or not expired), ErrLost, ErrDown.
func (s *Store) Release(ctx context.Context, e authz.Release) (authz.Settlement, error) {
	r, err := s.run(ctx, s.scripts.release, []string{s.accountKey(e.Account), s.outboxKey(e.Account)},
		field(e.Key), e.Now, clean(e.Reason), e.Account, e.MarkUntil, e.Before)
	if err != nil {
		return authz.Settlement{}, err
	}
	st := authz.Settlement{State: state(r.str(1)), Duplicate: r.int(3) == 1, Seq: r.int(4), Available: credit.Units(r.int(5))}
	if st.UID, err = authz.ParseUID(r.str(2)); err != nil {
		return st, fmt.Errorf("release: %w", err)
	}
	if !st.Duplicate {
		s.met.closed(&st)
	}
	return st, nil
}

func (m *Metrics) closed(st *authz.Settlement) {
	m.settled.WithLabelValues(st.State.String()).Inc()
	if st.Overrun > 0 {
		m.overruns.Inc()
		m.overrun.Add(float64(st.Overrun))
	}
	if st.Flags.Has(authz.FlagClamped) {
		m.clamped.Inc()
	}
}

func state(s string) authz.State {
	if len(s) == 1 {
		return authz.State(s[0])
	}
	return authz.StateNone
}

// clean keeps a free text from breaking the record's tab-separated form.
func clean(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}
