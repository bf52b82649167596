package balance

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hmsovereign/ringfence/authz"
)

// op is one script call on its way. It is used again once its asker has the answer.
type op struct {
	ctx    context.Context
	script *script
	argv   []any         // EVALSHA, the script, the number of keys, the keys, the arguments
	args   authorizeArgs // what argv may point to
	val    any
	err    error
	done   chan struct{} // one signal for each use
}

var ops = sync.Pool{New: func() any { return &op{done: make(chan struct{}, 1)} }}

func newOp(ctx context.Context, s *script) *op {
	o := ops.Get().(*op)
	o.ctx, o.script = ctx, s
	return o
}

// command is a script's call as the driver takes it. Keys must be strings, not
// pointers to them: the driver finds the cluster's slot by the first.
func command(s *script, keys []string, args []any) []any {
	argv := make([]any, 0, 3+len(keys)+len(args))
	argv = append(argv, evalSHA, s.shaArg, len(keys))
	for _, k := range keys {
		argv = append(argv, k)
	}
	return append(argv, args...)
}

const (
	evalSHA  = "evalsha"
	firstKey = 3 // its place in a command
)

// result takes an op's answer and gives the op back. Nobody else may have it any more.
func (o *op) result() (any, error) {
	val, err := o.val, o.err
	o.ctx, o.script, o.argv, o.args, o.val, o.err = nil, nil, nil, authorizeArgs{}, nil, nil
	ops.Put(o)
	return val, err
}

// pipeline sends scripts to Redis, many in one round trip. A fixed number of
// workers each has one pipeline under way; what queues up meanwhile is the next
// one's load. Nothing waits for company: while nothing at all is under way, the
// asker sends its script itself.
type pipeline struct {
	rdb     redis.UniversalClient
	queue   chan *op
	batch   int
	timeout time.Duration
	bounds  *authz.Deadlines // of timeout
	pipes   sync.Pool        // of redis.Pipeliner, empty
	met     *Metrics
	flying  atomic.Int32 // pipelines under way
	wg      sync.WaitGroup

	mu     sync.RWMutex
	closed bool
}

func newPipeline(rdb redis.UniversalClient, workers, batch int, timeout time.Duration, met *Metrics) *pipeline {
	p := &pipeline{rdb: rdb, queue: make(chan *op, 4096), batch: batch, timeout: timeout,
		bounds: authz.NewDeadlines(timeout), met: met}
	p.pipes.New = func() any { return rdb.Pipeline() }
	for range workers {
		p.wg.Add(1)
		go p.work()
	}
	return p
}

// close sends what is queued and ends the workers.
func (p *pipeline) close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.queue)
	}
	p.mu.Unlock()
	p.wg.Wait()
}

var errClosed = fmt.Errorf("store is closed: %w", authz.ErrDown)

// run sends one script and waits for its answer or for ctx. Where ctx ends
// first the script may still have run. The op is no longer the caller's.
func (p *pipeline) run(o *op) (any, error) {
	ctx, s := o.ctx, o.script
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w (%w)", s.name, authz.ErrDown, context.Cause(ctx))
	}
	p.mu.RLock()
	if p.closed {
		p.mu.RUnlock()
		return nil, errClosed
	}
	if p.flying.CompareAndSwap(0, 1) {
		p.mu.RUnlock()
		one := [1]*op{o}
		p.send(ctx, one[:])
		p.flying.Add(-1)
		return o.result()
	}
	select {
	case p.queue <- o:
		p.mu.RUnlock()
	case <-ctx.Done():
		p.mu.RUnlock()
		return nil, fmt.Errorf("%s: waiting to be sent: %w (%w)", s.name, authz.ErrDown, context.Cause(ctx))
	}
	select {
	case <-o.done:
		return o.result()
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: no answer in time: %w (%w)", s.name, authz.ErrDown, context.Cause(ctx))
	}
}

func (p *pipeline) work() {
	defer p.wg.Done()
	taken := make([]*op, 0, p.batch)
	for first := range p.queue {
		p.flying.Add(1)
		taken = append(taken[:0], first)
	fill:
		for len(taken) < p.batch {
			select {
			case o, ok := <-p.queue:
				if !ok {
					break fill
				}
				taken = append(taken, o)
			default:
				break fill
			}
		}
		live := taken[:0]
		for _, o := range taken {
			if o.ctx.Err() != nil { // nobody waits any more: a hold made now would have no asker
				o.err = fmt.Errorf("%s: %w", o.script.name, authz.ErrDown)
				o.done <- struct{}{}
				continue
			}
			live = append(live, o)
		}
		if len(live) > 0 {
			p.send(context.Background(), live)
		}
		for _, o := range live {
			o.done <- struct{}{}
		}
		p.flying.Add(-1)
		clear(taken[:cap(taken)])
	}
}

// send runs the ops in one pipeline, and those whose script Redis had not
// loaded once more with their source.
func (p *pipeline) send(ctx context.Context, ops []*op) {
	start := time.Now()
	switch at, bounded := ctx.Deadline(); {
	case ctx.Done() == nil:
		ctx = p.bounds.From(start)
	case !bounded || at.Sub(start) > p.timeout:
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.timeout)
		defer cancel()
	}
	p.exec(ctx, ops, false)
	var missing []*op
	for _, o := range ops {
		if o.err != nil && redis.HasErrorPrefix(o.err, "NOSCRIPT") {
			missing = append(missing, o)
		}
	}
	if len(missing) > 0 {
		p.exec(ctx, missing, true)
	}
	p.met.pipelined(len(ops), time.Since(start))
	for _, o := range ops {
		if o.err != nil {
			o.err = classify(o.script.name, o.err)
			p.met.failed(o.script.name)
		}
	}
}

func (p *pipeline) exec(ctx context.Context, ops []*op, source bool) {
	cmds := make([]redis.Cmder, len(ops))
	for i, o := range ops {
		argv := o.argv
		if source {
			argv = append([]any{"eval", o.script.src}, argv[2:]...)
		}
		cmd := redis.NewCmd(ctx, argv...)
		cmd.SetFirstKeyPos(firstKey)
		cmds[i] = cmd
	}
	pipe := p.pipes.Get().(redis.Pipeliner)
	_ = pipe.BatchProcess(ctx, cmds...)
	cmds, err := pipe.Exec(ctx)
	p.pipes.Put(pipe)
	for i, o := range ops {
		if i >= len(cmds) {
			o.err = err
			continue
		}
		o.val, o.err = cmds[i].(*redis.Cmd).Result()
	}
}
