package reconcile

import "context"

// Look is one look of Run.
func (r *Rebuilder) Look(ctx context.Context) error { return r.look(ctx) }

// Asked counts the accounts that wait to be rebuilt.
func (r *Rebuilder) Asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.asked)
}
