package meter

import "sync"

// pool runs jobs on at most limit goroutines, started when there is work and
// gone when there is none. Its queue is unbounded: what is put in is never shed.
type pool struct {
	limit int

	mu      sync.Mutex
	queue   []func()
	running int
	idle    *sync.Cond
}

func newPool(limit int) *pool {
	p := &pool{limit: limit}
	p.idle = sync.NewCond(&p.mu)
	return p
}

// run queues a job. It does not wait.
func (p *pool) run(job func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = append(p.queue, job)
	if p.running < p.limit {
		p.running++
		go p.work()
	}
}

func (p *pool) work() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queue) > 0 {
		job := p.queue[0]
		p.queue[0] = nil
		p.queue = p.queue[1:]
		p.mu.Unlock()
		job()
		p.mu.Lock()
	}
	p.queue = nil
	p.running--
	if p.running == 0 {
		p.idle.Broadcast()
	}
}

// wait returns when no job is queued or running.
func (p *pool) wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.running > 0 {
		p.idle.Wait()
	}
}
