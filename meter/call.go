package meter

import (
	"container/heap"
	"hash/maphash"
	"sync"
	"unique"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// mark is what the meter knows of a call beside its times.
type mark uint16

const (
	heartbeat mark = 1 << iota // it has sent heartbeats: only those prove its life
	short                      // less was granted than asked for: credit ends at until
	warned                     // the caller was told so
	ending                     // to be hung up
	told                       // the switch does not know it any more, or cannot be told
	heard                      // the switch took a hang-up
	dialing                    // a hang-up is under way
	raising                    // a new dead-man limit is under way
	killed                     // an operator asked for its end
	emergency                  // never hung up, never charged
	unchecked                  // was let go by the failure policy
	busy                       // an operation on Redis is under way
	indexed                    // written to the live index
	gone                       // no longer in memory
	stalled                    // the last extension did not come about
)

// call is one call in memory, kept small: a sidecar has 100,000 of them. Times
// are Unix ms of our clock. Its shard's lock guards all that changes.
type call struct {
	next    *call  // of the same hash
	port    *port  // its switch
	text    string // direction (a byte), call id, then the unchanging part as packed in Redis
	account string
	price   unique.Handle[tariff.Price]

	deadline int64 // held: when the hold lapses; live: since when it is ours; ending: when it is given up for lost
	answered int64
	heard    int64 // the answer's stamp by the switch's clock; 0 = none
	proof    int64 // last proof of life
	proven   int64 // the same, as Redis has it
	until    int64 // talk time bought, ms
	contact  int64 // when Redis last confirmed the call
	due      int64 // when to look at it again
	epoch    int64 // under which Redis has it

	max   int32 // the account's limit for one call, seconds; 0 = none
	armed int32 // the dead-man limit the switch was given, seconds; 0 = not known
	ends  int32 // talk seconds that credit reaches to, as last seen; 0 = not known
	slot  int32 // place in the heap

	marks  mark
	state  authz.State // StateHeld or StateLive
	idLen  uint8
	absent uint8 // listings in a row that lacked it
	tries  uint8 // hang-ups attempted
	why    uint8 // reason of its ending
	shard  uint8
}

func (c *call) has(m mark) bool { return c.marks&m != 0 }
func (c *call) set(m mark)      { c.marks |= m }
func (c *call) clear(m mark)    { c.marks &^= m }
func (c *call) id() string      { return c.text[1 : 1+int(c.idLen)] }

func (c *call) direction() authz.Direction { return authz.Direction(c.text[0]) }

// key names the call. It never changes, so that no lock is needed for it.
func (c *call) key() authz.Key {
	return authz.Key{Switch: c.port.name, Direction: c.direction(), CallID: c.id()}
}

func (c *call) is(k *authz.Key) bool {
	return c.id() == k.CallID && c.direction() == k.Direction && c.port.name == k.Switch
}

// talk is the talk time at now, ms.
func (c *call) talk(now int64) int64 { return now - c.answered }

// whole writes the call out as package authz has it.
func (c *call) whole() authz.Call {
	var w authz.Call
	_ = w.ParseTail(c.text[1+int(c.idLen):]) // written by AppendTail
	w.Key, w.Account, w.State, w.Epoch = c.key(), c.account, c.state, c.epoch
	w.UntilMS, w.AnsweredAt, w.AnsweredSwitch, w.ProofAt = c.until, c.answered, c.heard, c.proof
	w.Held = w.Price.Cost(c.until)
	for _, f := range [...]struct {
		m    mark
		flag rune
	}{{killed, authz.FlagKilled}, {emergency, authz.FlagEmergency}, {unchecked, authz.FlagUnchecked}} {
		if c.has(f.m) {
			w.Flags = w.Flags.With(f.flag)
		}
	}
	return w
}

// newCall makes the compact form of a call.
func newCall(w *authz.Call, p *port, account string) *call {
	buf := make([]byte, 0, 512)
	buf = w.AppendTail(append(append(buf, byte(w.Direction)), w.CallID...))
	c := &call{port: p, text: string(buf), idLen: uint8(len(w.CallID)), account: account, price: unique.Make(w.Price),
		max: int32(min(w.MaxSeconds, tariff.Unlimited))}
	c.renew(w)
	return c
}

// renew takes over what of a call changes.
func (c *call) renew(w *authz.Call) {
	if w.State == authz.StateHeld {
		c.deadline = w.ExpiresAt
	}
	c.state, c.epoch, c.until, c.answered, c.heard = w.State, w.Epoch, w.UntilMS, w.AnsweredAt, w.AnsweredSwitch
	c.proof, c.proven = max(c.proof, w.ProofAt), w.ProofAt
	for _, f := range [...]struct {
		flag rune
		m    mark
	}{{authz.FlagKilled, killed}, {authz.FlagEmergency, emergency}, {authz.FlagUnchecked, unchecked}} {
		if w.Flags.Has(f.flag) {
			c.set(f.m)
		}
	}
}

const shards = 32

// shard is a part of the calls, with the order in which they are due. Collisions
// of the hash are chained, which makes the map a third of one by key.
type shard struct {
	mu    sync.Mutex
	calls map[uint64]*call
	heap  dueHeap
	_     [64]byte // another shard's lock is on another cache line
}

type table struct {
	seed   maphash.Seed
	shards [shards]shard
}

func (t *table) init() {
	t.seed = maphash.MakeSeed()
	for i := range t.shards {
		t.shards[i].calls = map[uint64]*call{}
	}
}

func (t *table) hash(sw, id string, d authz.Direction) uint64 {
	var h maphash.Hash
	h.SetSeed(t.seed)
	_, _ = h.WriteString(id) // maphash never fails
	_, _ = h.WriteString(sw)
	_ = h.WriteByte(byte(d))
	return h.Sum64()
}

func (t *table) shard(h uint64) *shard  { return &t.shards[h%shards] }
func (t *table) home(c *call) *shard    { return &t.shards[c.shard] }
func (t *table) keyHash(c *call) uint64 { return t.hash(c.port.name, c.id(), c.direction()) }

// lookup finds a call; sh is locked.
func (sh *shard) lookup(h uint64, k *authz.Key) *call {
	for c := sh.calls[h]; c != nil; c = c.next {
		if c.is(k) {
			return c
		}
	}
	return nil
}

// insert adds a call that is not there; sh is locked.
func (sh *shard) insert(h uint64, c *call) {
	c.shard = uint8(h % shards)
	c.next = sh.calls[h]
	sh.calls[h] = c
	heap.Push(&sh.heap, c)
}

// remove takes a call out; sh is locked.
func (sh *shard) remove(h uint64, c *call) {
	c.set(gone)
	heap.Remove(&sh.heap, int(c.slot))
	if first := sh.calls[h]; first == c {
		if c.next == nil {
			delete(sh.calls, h)
		} else {
			sh.calls[h] = c.next
		}
	} else {
		for p := first; p != nil; p = p.next {
			if p.next == c {
				p.next = c.next
				break
			}
		}
	}
	c.next = nil
}

// at sets when a call is looked at again; sh is locked.
func (sh *shard) at(c *call, due int64) {
	c.due = due
	heap.Fix(&sh.heap, int(c.slot))
}

// dueHeap orders calls by when they are due (container/heap).
type dueHeap []*call

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due < h[j].due }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = int32(i), int32(j)
}

// Push is heap.Interface's.
func (h *dueHeap) Push(x any) {
	c := x.(*call)
	c.slot = int32(len(*h))
	*h = append(*h, c)
}

// Pop is heap.Interface's.
func (h *dueHeap) Pop() any {
	old := *h
	n := len(old) - 1
	c := old[n]
	old[n] = nil
	*h = old[:n]
	return c
}
