package authz_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hmsovereign/ringfence/authz"
)

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const after = 64 * time.Millisecond
		d := authz.NewDeadlines(after)
		start := time.Now()
		first := d.From(start)
		shared := d.From(start.Add(time.Millisecond))
		later := d.From(start.Add(2 * time.Millisecond))
		if shared != first || later == first {
			t.Errorf("asked after 1 ms the same context: %t; after 2 ms: %t", shared == first, later == first)
		}
		<-first.Done()
		if took := time.Since(start); took != after || first.Err() == nil || later.Err() != nil {
			t.Errorf("the first ended after %s: %v; the later one: %v", took, first.Err(), later.Err())
		}
		<-later.Done()
		if took := time.Since(start); took != after+2*time.Millisecond {
			t.Errorf("the later one ended after %s", took)
		}
		if again := d.From(time.Now()); again.Err() != nil {
			t.Errorf("one that has ended is given: %v", again.Err())
		}
	})
}
