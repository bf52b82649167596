package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

//go:embed queries/*.sql
var queryFiles embed.FS

const (
	readers    = 4
	lockSuffix = ".lock"
)

// Open opens the ledger in a file, which it makes if there is none.
// Errors: ErrLocked (another sidecar has it open), ErrUnavailable (the file cannot be read or written).
func Open(ctx context.Context, path string) (*ledger.Ledger, error) {
	d, err := open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open the ledger %s: %w", path, err)
	}
	l, err := ledger.New(d)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return l, nil
}

// driver is a ledger.Driver.
type driver struct {
	lock   *lock
	writer *sql.DB // one connection
	reader *sql.DB
}

func open(ctx context.Context, path string) (*driver, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	l, err := takeLock(ctx, path+lockSuffix)
	if err != nil {
		return nil, err
	}
	d := &driver{lock: l}
	writer := url.Values{"_txlock": {"immediate"}, "_pragma": {"busy_timeout(10000)", "journal_mode(wal)",
		"synchronous(full)", "foreign_keys(1)", "temp_store(memory)"}}
	reader := url.Values{"_pragma": {"busy_timeout(10000)", "query_only(1)", "temp_store(memory)"}}
	if d.writer, err = connect(path, writer, 1); err == nil {
		d.reader, err = connect(path, reader, readers)
	}
	if err == nil {
		err = d.writer.PingContext(ctx) // makes the file, in write-ahead mode, before any reader looks
	}
	if err != nil {
		return nil, errors.Join(translate(ctx, err), d.Close())
	}
	return d, nil
}

// connect prepares a pool of connections that all live as long as it does.
func connect(path string, options url.Values, conns int) (*sql.DB, error) {
	name := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: options.Encode()}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// lock keeps other processes out.
type lock struct {
	db *sql.DB
	tx *sql.Tx
}

// takeLock opens an exclusive transaction on a database of its own and never writes to it: a lock that works wherever
// SQLite does, and against another Open in the same process too.
func takeLock(ctx context.Context, path string) (*lock, error) {
	db, err := connect(path, url.Values{"_txlock": {"exclusive"}, "_pragma": {"busy_timeout(0)"}}, 1)
	if err != nil {
		return nil, err
	}
	// The transaction outlives the call, and so the context.
	tx, err := db.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		if busy(err) {
			err = fmt.Errorf("%w (%s is locked): run one sidecar on an embedded ledger, or use Postgres: %w", ledger.ErrLocked, path, err)
		} else {
			err = translate(ctx, err)
		}
		return nil, errors.Join(err, db.Close())
	}
	return &lock{db: db, tx: tx}, nil
}

func (l *lock) release() error {
	err := l.tx.Rollback()
	return errors.Join(err, l.db.Close())
}

func (d *driver) Statements() fs.FS { return queryFiles }

func (d *driver) Close() error {
	var errs []error
	for _, db := range []*sql.DB{d.reader, d.writer} { // the writer last: it folds the log into the file
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(append(errs, d.lock.release())...)
}

func (d *driver) Read(ctx context.Context, fn func(ledger.Conn) error) error {
	return d.transact(ctx, d.reader, fn)
}

func (d *driver) Write(ctx context.Context, fn func(ledger.Conn) error) error {
	return d.transact(ctx, d.writer, fn)
}

// transact runs fn in a transaction. A reader's sees one snapshot from its first statement on.
func (d *driver) transact(ctx context.Context, db *sql.DB, fn func(ledger.Conn) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return translate(ctx, err)
	}
	if err := fn(&conn{tx: tx}); err != nil {
		// Fails only if ctx is over, and then it has been rolled back.
		_ = tx.Rollback()
		return err
	}
	return translate(ctx, tx.Commit())
}
