package ledger

import (
	"context"
	"errors"
	"time"
)

// sessionStatements are those of the billing page's sessions and sign-in links.
type sessionStatements struct {
	SessionInsert, Session, SessionSeen, SessionDelete, SessionsDrop string
	SignInLinkInsert, SignInLinkUse, SignInLinksDrop                 string
}

// csrfSize is how many bytes a session's CSRF secret has at least.
const csrfSize = 16

// Session is somebody signed in to the billing page. The token itself is kept by the browser alone.
type Session struct {
	Hash    []byte // SHA-256 of the token, 32 bytes
	Account string
	KeyID   string // the API key that was used to sign in, with which the session ends; empty: a sign-in link was
	CSRF    []byte // secret that the session's forms repeat, 16 bytes or more
	Created time.Time
	Expires time.Time
	Seen    time.Time // when it was last used, give or take a minute
}

// SignInLink lets whoever has its token sign in to the billing page, once.
type SignInLink struct {
	Hash    []byte // SHA-256 of the token, 32 bytes
	Account string
	Created time.Time
	Expires time.Time
}

// AddSession keeps a new session. Errors: ErrNotFound (the account), ErrExists, ErrInvalid.
func (l *Ledger) AddSession(ctx context.Context, s Session) error {
	err := checkSession(&s)
	if err == nil {
		err = l.Update(ctx, func(tx *Tx) error { return tx.addSession(ctx, &s) })
	}
	return wrap("add session", err)
}

// AddSessionByLink keeps a new session for the account of a sign-in link, which is used up by that, and returns the
// session. Errors: ErrNotFound (there is no such link, it is used or over), ErrInvalid.
func (l *Ledger) AddSessionByLink(ctx context.Context, link []byte, s Session) (Session, error) {
	s.Account, s.KeyID = "by link", ""
	err := checkSession(&s)
	if err == nil {
		err = l.Update(ctx, func(tx *Tx) (err error) {
			if s.Account, err = one(ctx, tx.c, tx.sql.SignInLinkUse, []any{link, kept(s.Created)}, column[string]); err != nil {
				return err
			}
			return tx.addSession(ctx, &s)
		})
	}
	if errors.Is(err, ErrNotFound) {
		err = problem(ErrNotFound, "there is no such sign-in link, or it has been used, or its time is over")
	}
	if err != nil {
		return Session{}, wrap("add session by link", err)
	}
	return s, nil
}

func (tx *Tx) addSession(ctx context.Context, s *Session) error {
	if _, err := tx.account(ctx, tx.sql.Account, s.Account); err != nil {
		return err
	}
	_, err := tx.c.Exec(ctx, tx.sql.SessionInsert, s.Hash, s.Account, s.KeyID, s.CSRF, kept(s.Created), kept(s.Expires), kept(s.Seen))
	return err
}

// checkSession checks a session, and brings its times to what is kept.
func checkSession(s *Session) error {
	s.Created, s.Expires, s.Seen = kept(s.Created), kept(s.Expires), kept(s.Seen)
	if s.Seen.IsZero() {
		s.Seen = s.Created
	}
	err := errors.Join(checkGiven(field{"account", s.Account}), checkTexts(field{"account", s.Account}, field{"key_id", s.KeyID}), checkToken(s.Hash, s.Created, s.Expires))
	if len(s.CSRF) < csrfSize {
		err = errors.Join(err, invalid("CSRF secret has %d bytes, at least %d are needed", len(s.CSRF), csrfSize))
	}
	return err
}

func checkToken(hash []byte, created, expires time.Time) error {
	var err error
	if len(hash) != hashSize {
		err = invalid("hash has %d bytes, SHA-256 has %d", len(hash), hashSize)
	}
	if created.IsZero() || !expires.After(created) {
		err = errors.Join(err, invalid("it would end at %v, and begin at %v", expires, created))
	}
	return err
}

// Session returns the session with a hash, unless it is over at a time, or the API key that it was begun with is.
// Errors: ErrNotFound.
func (l *Ledger) Session(ctx context.Context, hash []byte, at time.Time) (Session, error) {
	var s Session
	err := l.view(ctx, func(tx *Tx) (err error) {
		s, err = one(ctx, tx.c, tx.sql.Session, []any{hash, kept(at)}, readSession)
		return err
	})
	return s, wrap("session", err)
}

func readSession(row Scanner) (Session, error) {
	var s Session
	err := row.Scan(&s.Hash, &s.Account, &s.KeyID, &s.CSRF, &s.Created, &s.Expires, &s.Seen)
	return s, err
}

// TouchSession notes when a session was last used. An earlier time than known, and an unknown session, change nothing.
func (l *Ledger) TouchSession(ctx context.Context, hash []byte, at time.Time) error {
	return wrap("note the use of a session", l.exec(ctx, func(tx *Tx) string { return tx.sql.SessionSeen }, hash, kept(at)))
}

// EndSession ends a session; one that is not there is ended already.
func (l *Ledger) EndSession(ctx context.Context, hash []byte) error {
	return wrap("end session", l.exec(ctx, func(tx *Tx) string { return tx.sql.SessionDelete }, hash))
}

// AddSignInLink keeps a new sign-in link. Errors: ErrNotFound (the account), ErrExists, ErrInvalid.
func (l *Ledger) AddSignInLink(ctx context.Context, k SignInLink) error {
	k.Created, k.Expires = kept(k.Created), kept(k.Expires)
	err := errors.Join(checkGiven(field{"account", k.Account}), checkTexts(field{"account", k.Account}), checkToken(k.Hash, k.Created, k.Expires))
	if err == nil {
		err = l.Update(ctx, func(tx *Tx) error {
			if _, err := tx.account(ctx, tx.sql.Account, k.Account); err != nil {
				return err
			}
			_, err := tx.c.Exec(ctx, tx.sql.SignInLinkInsert, k.Hash, k.Account, k.Created, k.Expires)
			return err
		})
	}
	return wrap("add sign-in link", err)
}

// DropSessions removes the sessions and sign-in links that were over at a time.
func (l *Ledger) DropSessions(ctx context.Context, before time.Time) error {
	err := l.Update(ctx, func(tx *Tx) error {
		if _, err := tx.c.Exec(ctx, tx.sql.SessionsDrop, kept(before)); err != nil {
			return err
		}
		_, err := tx.c.Exec(ctx, tx.sql.SignInLinksDrop, kept(before))
		return err
	})
	return wrap("drop old sessions", err)
}

func (l *Ledger) exec(ctx context.Context, sql func(*Tx) string, args ...any) error {
	return l.Update(ctx, func(tx *Tx) error {
		_, err := tx.c.Exec(ctx, sql(tx), args...)
		return err
	})
}
