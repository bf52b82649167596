package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
)

// The embedded Redis lives in this process. Its balances come back from the
// ledger; its live calls from a file that is written every second and, for
// good, at a soft stop.
const (
	liveFile   = "live-calls"
	liveClean  = "# ringfence live calls, soft stop"
	liveKilled = "# ringfence live calls, running"
)

// keepLive writes the live calls every second, until ctx is done.
func (a *App) keepLive(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if err := a.writeLive(ctx, liveKilled); err != nil && ctx.Err() == nil {
				a.log.Warn("live calls not written down", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// writeLive writes every call that holds credit: "account key packed call".
func (a *App) writeLive(ctx context.Context, head string) error {
	var b strings.Builder
	b.WriteString(head + "\n")
	for p := range a.Store.Partitions() {
		err := a.Store.Accounts(ctx, p, func(account string) error {
			return a.Store.Calls(ctx, account, func(c authz.Call, err error) error {
				if err == nil && (c.State == authz.StateHeld || c.State == authz.StateLive) {
					fmt.Fprintf(&b, "%s\x1f%s\x1f%s\n", account, c.Key, c.AppendCall(nil))
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	path := filepath.Join(a.cfg.DataDir, liveFile)
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// readLive puts the calls of a soft stop back; after a kill it says which calls
// cannot be proven. The accounts must be there.
func (a *App) readLive(ctx context.Context) error {
	path := filepath.Join(a.cfg.DataDir, liveFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	lines.Scan()
	clean := lines.Text() == liveClean
	var calls []authz.Call
	var uids []uuid.UUID
	for lines.Scan() {
		part := strings.SplitN(lines.Text(), "\x1f", 3)
		if len(part) != 3 {
			continue
		}
		k, err := authz.ParseKey(part[1])
		if err != nil {
			continue
		}
		if c, err := authz.ParseCall(part[0], k, part[2]); err == nil {
			calls, uids = append(calls, c), append(uids, c.UID)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	known, err := a.Ledger.KnownCalls(ctx, uids)
	if err != nil {
		return err
	}
	for _, c := range calls {
		switch {
		case known[c.UID] != authz.StateNone:
		case clean:
			if err := a.Store.Restore(ctx, c); err != nil {
				a.log.Error("live call not put back", "call", c.Key.String(), "account", c.Account, "error", err)
			}
		default:
			a.log.Error("this process was killed: the call was on at that moment and its end cannot be proven; nothing was charged for it",
				"account", c.Account, "call", c.Key.String(), "call_uid", c.UID.String(), "state", c.State.String(),
				"held_units", int64(c.Held), "answered_at", c.AnsweredAt)
		}
	}
	return os.Remove(path)
}
