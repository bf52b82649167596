package reconcile

import "context"

// Look is one look of Run.
func (r *Rebuilder) Look(ctx context.Context) error { return r.look(ctx) }
