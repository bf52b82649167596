package account

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Log keys.
const (
	logAccount = "account"
	logError   = "error"
	logKey     = "key_id"
	logLines   = "lines"
	logMethod  = "method"
	logPanic   = "panic"
	logPath    = "path"
	logPrefix  = "prefix"
	logReason  = "reason"
	logRemote  = "remote"
	logStack   = "stack"
)

// calmFor is how long the same warning is not repeated.
const calmFor = 10 * time.Second

// calm warns of what may come with every request, such as a store that is away,
// now and then only; the metrics count it all.
type calm struct {
	log  *slog.Logger
	now  func() time.Time
	last sync.Map // message -> time.Time
}

func (c *calm) warn(message string, args ...any) {
	now, level := c.now(), slog.LevelWarn
	if last, ok := c.last.Load(message); ok && now.Sub(last.(time.Time)) < calmFor {
		level = slog.LevelDebug
	} else {
		c.last.Store(message, now)
	}
	c.log.Log(context.Background(), level, message, args...)
}
