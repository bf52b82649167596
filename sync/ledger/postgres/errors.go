package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/puddle/v2"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// SQLSTATE codes and classes (PostgreSQL documentation, appendix A).
const (
	uniqueViolation      = "23505"
	foreignKeyViolation  = "23503"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	readOnlyTransaction  = "25006" // a standby, or a primary that was demoted
	lockNotAvailable     = "55P03"
	undefinedTable       = "42P01"
	undefinedColumn      = "42703"

	classConnection   = "08"
	classData         = "22"
	classIntegrity    = "23"
	classAuth         = "28"
	classNoDatabase   = "3D"
	classResources    = "53"
	classIntervention = "57" // shut down, starting up, statement time-out
	classSystem       = "58"
)

// translate turns an error of pgx into one of the ledger's, with the former wrapped.
func translate(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if kind := kindOf(ctx, err); kind != nil {
		return fmt.Errorf("%w: %w", kind, err)
	}
	return err
}

// kindOf says which of the ledger's errors an error is, or nil for none.
func kindOf(ctx context.Context, err error) error {
	if server := new(pgconn.PgError); errors.As(err, &server) {
		return kindOfCode(server.Code)
	}
	if over := ctx.Err(); over != nil {
		return over
	}
	var network net.Error
	if errors.As(err, &network) || errors.As(err, new(*pgconn.ConnectError)) || pgconn.SafeToRetry(err) || pgconn.Timeout(err) {
		return ledger.ErrUnavailable
	}
	for _, lost := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, puddle.ErrClosedPool, pgx.ErrTxClosed, pgx.ErrTxCommitRollback} {
		if errors.Is(err, lost) {
			return ledger.ErrUnavailable
		}
	}
	return nil
}

func kindOfCode(code string) error {
	switch code {
	case uniqueViolation:
		return ledger.ErrExists
	case foreignKeyViolation:
		return ledger.ErrNotFound
	case serializationFailure, deadlockDetected, readOnlyTransaction, lockNotAvailable:
		return ledger.ErrUnavailable
	case undefinedTable, undefinedColumn:
		return ledger.ErrSchema
	}
	switch code[:min(2, len(code))] {
	case classData, classIntegrity:
		return ledger.ErrInvalid
	case classConnection, classAuth, classNoDatabase, classResources, classIntervention, classSystem:
		return ledger.ErrUnavailable
	}
	return nil
}

// retryable tells whether the same transaction may succeed at once.
func retryable(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && (server.Code == serializationFailure || server.Code == deadlockDetected)
}
