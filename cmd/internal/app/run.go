package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/hmsovereign/ringfence/meter/journal"
)

const (
	drainTime    = 10 * time.Second // for requests and ends under way at a stop
	compareEvery = 10 * time.Minute
)

// Run serves until ctx is done, then stops softly; hurry ends the soft part.
// The error is why it stopped, nil for ctx.
func (a *App) Run(ctx, hurry context.Context) error {
	defer a.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	// Each group is stopped before the next: listeners, then what works on calls.
	var serving, working sync.WaitGroup
	background, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()

	if a.mini != nil {
		a.log.Warn("embedded Redis: balances and calls outlive a soft stop, but a kill loses the calls of the moment; set redis.url for real use")
	}
	working.Go(func() { a.belong(background, cancel) })
	working.Go(func() { a.Directory.Run(background) })
	working.Go(func() { a.completer.Run(background) })
	working.Go(func() { a.mirrorDirectory(background) })
	working.Go(func() { a.keeper.Run(background) })
	working.Go(func() { a.Rebuilder.Run(background) })
	working.Go(func() { a.Comparer.Run(background, compareEvery) })
	working.Go(func() { a.watchRebuilds(background) })
	working.Go(func() { a.seek(background) })
	working.Go(func() { a.unproven.show(background) })
	journaling, stopJournal := context.WithCancel(context.WithoutCancel(ctx))
	defer stopJournal()
	journaled := make(chan struct{})
	go func() {
		defer close(journaled)
		a.journal.Run(journaling, journal.Source{Calls: a.Meter.Calls, Records: a.keeper.Records})
	}()
	reading, stopReading := context.WithCancel(background)
	defer stopReading()
	read := make(chan struct{})
	go func() {
		defer close(read)
		a.outbox.Run(reading)
	}()
	metering, stopMeter := context.WithCancel(background)
	defer stopMeter()
	metered := make(chan struct{})
	go func() {
		defer close(metered)
		if err := a.Meter.Run(metering); err != nil {
			cancel(err)
		}
	}()
	working.Go(func() { a.loadTariffs(background, a.cfg.Tariffs.File) })
	working.Go(func() { a.api.Run(background) })
	working.Go(func() { a.page.Run(background) })
	working.Go(func() { a.shop.Run(background) })
	working.Go(func() { a.runBilling(background) })
	working.Go(func() { a.retain(background) })
	working.Go(func() { a.notifier.Run(background) })
	announcing, stopAnnouncing := context.WithCancel(background)
	defer stopAnnouncing()
	if a.announcer != nil {
		serving.Go(func() {
			if err := a.announcer.Run(announcing); err != nil {
				cancel(err)
			}
		})
	}
	a.serve(&serving, cancel, a.ops)
	a.serve(&serving, cancel, a.public)
	if err := a.Hook.Start(ctx); err != nil {
		cancel(err)
	} else {
		a.log.Info("ready", "hook", a.HookAddr(), "public", a.PublicAddr(), "ops", a.OpsAddr(), "instance", a.cfg.Instance)
	}

	select {
	case <-ctx.Done():
	case err := <-a.Hook.Failed():
		cancel(err)
	}
	a.log.Info("stopping")
	soft, done := context.WithTimeout(hurry, drainTime)
	defer done()
	defer context.AfterFunc(hurry, func() {
		a.Meter.Hurry()
		stopWork()
	})()
	var errs []error
	if err := a.Hook.Shutdown(soft); err != nil && !errors.Is(err, context.Canceled) {
		errs = append(errs, fmt.Errorf("stop hooks: %w", err))
	}
	stopAnnouncing()
	stopMeter()
	<-metered
	if err := a.public.http.Shutdown(soft); err != nil && !errors.Is(err, context.Canceled) {
		errs = append(errs, fmt.Errorf("stop public: %w", err))
	}
	if err := a.ops.http.Shutdown(soft); err != nil && !errors.Is(err, context.Canceled) {
		errs = append(errs, fmt.Errorf("stop ops: %w", err))
	}
	serving.Wait()
	stopReading()
	<-read
	if err := a.outbox.Drain(soft); err != nil {
		a.log.Warn("records wait in Redis for the next start", "error", err)
	}
	stopWork()
	working.Wait()
	stopJournal()
	<-journaled
	if err := a.closeJournal(); err != nil {
		errs = append(errs, fmt.Errorf("write the live calls down: %w", err))
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		errs = append([]error{cause}, errs...)
	}
	a.log.Info("stopped")
	return errors.Join(errs...)
}

// serve runs a listener until it is shut down.
func (a *App) serve(wg *sync.WaitGroup, fail context.CancelCauseFunc, s *server) {
	wg.Go(func() {
		if err := s.http.Serve(s.l); !errors.Is(err, http.ErrServerClosed) {
			fail(fmt.Errorf("%s listener: %w", s.name, err))
		}
	})
}
