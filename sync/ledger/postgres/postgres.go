package postgres

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

//go:embed queries/*.sql
var queryFiles embed.FS

//go:embed begin_read.sql
var beginRead string

//go:embed begin_write.sql
var beginWrite string

// Config says where the ledger is.
type Config struct {
	URL            string        // postgres://user:password@host:port/database?sslmode=...
	MaxConns       int32         // connections at most; 0 = 8
	ConnectTimeout time.Duration // of one attempt; 0 = 5 s
}

const (
	defaultMaxConns       = 8
	defaultConnectTimeout = 5 * time.Second
	// idleConns bounds how long an unused connection is kept.
	idleConns = 5 * time.Minute
	// attempts bounds how often a transaction is run that deadlocked or could not be serialized.
	attempts     = 6
	firstBackoff = 5 * time.Millisecond
)

// Open prepares a ledger in Postgres. It does not connect: a sidecar starts while Postgres is down.
// Errors: the URL cannot be read.
func Open(ctx context.Context, cfg Config) (*ledger.Ledger, error) {
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("ledger URL: %w", err)
	}
	pc.MaxConns = defaultMaxConns
	if cfg.MaxConns > 0 {
		pc.MaxConns = cfg.MaxConns
	}
	pc.MaxConnIdleTime = idleConns
	pc.ConnConfig.ConnectTimeout = defaultConnectTimeout
	if cfg.ConnectTimeout > 0 {
		pc.ConnConfig.ConnectTimeout = cfg.ConnectTimeout
	}
	if pc.ConnConfig.RuntimeParams["application_name"] == "" {
		pc.ConnConfig.RuntimeParams["application_name"] = "ringfence"
	}
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", translate(ctx, err))
	}
	l, err := ledger.New(&driver{pool: pool})
	if err != nil {
		pool.Close()
		return nil, err
	}
	return l, nil
}

// driver is a ledger.Driver.
type driver struct {
	pool *pgxpool.Pool
}

func (d *driver) Statements() fs.FS { return queryFiles }

func (d *driver) Close() error {
	d.pool.Close()
	return nil
}

func (d *driver) Read(ctx context.Context, fn func(ledger.Conn) error) error {
	return d.transact(ctx, beginRead, fn)
}

func (d *driver) Write(ctx context.Context, fn func(ledger.Conn) error) error {
	backoff := firstBackoff
	for attempt := 1; ; attempt++ {
		err := d.transact(ctx, beginWrite, fn)
		if attempt == attempts || !retryable(err) {
			return err
		}
		if wait(ctx, backoff/2+rand.N(backoff)) != nil {
			return err
		}
		backoff *= 2
	}
}

// wait lasts for d or until ctx is over.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// transact runs fn once in a transaction.
func (d *driver) transact(ctx context.Context, begin string, fn func(ledger.Conn) error) error {
	tx, err := d.pool.BeginTx(ctx, pgx.TxOptions{BeginQuery: begin})
	if err != nil {
		return translate(ctx, err)
	}
	if err := fn(&conn{tx: tx}); err != nil {
		// The connection may be broken or ctx over: then pgx closes it, which rolls back as well.
		_ = tx.Rollback(ctx)
		return err
	}
	return translate(ctx, tx.Commit(ctx))
}
