package ledgertest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

// hashOf is the hash of a token that nobody else has.
func hashOf() []byte {
	h := sha256.Sum256([]byte(uuid.NewString()))
	return h[:]
}

func exampleSession(account string) ledger.Session {
	return ledger.Session{Hash: hashOf(), Account: account, CSRF: bytes.Repeat([]byte{7}, 32), Created: noon, Expires: noon.Add(12 * time.Hour), Seen: noon}
}

func testSessions(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	s := exampleSession(a)
	must(t, l.AddSession(ctx, s))
	got, err := l.Session(ctx, s.Hash, noon.Add(time.Hour))
	must(t, err)
	diff(t, "session", got, s)
	want(t, l.AddSession(ctx, s), ledger.ErrExists)
	_, err = l.Session(ctx, hashOf(), noon)
	want(t, err, ledger.ErrNotFound)
	_, err = l.Session(ctx, s.Hash, s.Expires)
	want(t, err, ledger.ErrNotFound)

	must(t, l.TouchSession(ctx, s.Hash, noon.Add(time.Minute)))
	must(t, l.TouchSession(ctx, s.Hash, noon.Add(time.Second)))
	must(t, l.TouchSession(ctx, hashOf(), noon))
	got, err = l.Session(ctx, s.Hash, noon)
	must(t, err)
	equal(t, "seen", got.Seen, noon.Add(time.Minute))

	must(t, l.EndSession(ctx, s.Hash))
	must(t, l.EndSession(ctx, s.Hash))
	_, err = l.Session(ctx, s.Hash, noon)
	want(t, err, ledger.ErrNotFound)

	for name, spoil := range map[string]func(*ledger.Session){
		"short hash": func(s *ledger.Session) { s.Hash = s.Hash[:31] },
		"no account": func(s *ledger.Session) { s.Account = "" },
		"no secret":  func(s *ledger.Session) { s.CSRF = nil },
		"no end":     func(s *ledger.Session) { s.Expires = time.Time{} },
		"backwards":  func(s *ledger.Session) { s.Expires = s.Created },
	} {
		bad := exampleSession(a)
		spoil(&bad)
		if err := l.AddSession(ctx, bad); !errors.Is(err, ledger.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	want(t, l.AddSession(ctx, exampleSession("nobody")), ledger.ErrNotFound)

	// What is over goes, what is not stays.
	old, young := exampleSession(a), exampleSession(a)
	young.Expires = noon.Add(24 * time.Hour)
	must(t, l.AddSession(ctx, old))
	must(t, l.AddSession(ctx, young))
	must(t, l.DropSessions(ctx, old.Expires))
	_, err = l.Session(ctx, old.Hash, noon)
	want(t, err, ledger.ErrNotFound)
	_, err = l.Session(ctx, young.Hash, noon)
	must(t, err)
}

// A session ends with the API key that it was begun with, revoked or expired.
func testSessionOfKey(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	session := func(k ledger.APIKey) (ledger.APIKey, ledger.Session) {
		t.Helper()
		k.Account, k.Hash, k.Created = a, hashOf(), noon
		made, _, err := l.AddKey(ctx, k)
		must(t, err)
		s := exampleSession(a)
		s.KeyID = made.ID
		must(t, l.AddSession(ctx, s))
		_, err = l.Session(ctx, s.Hash, noon)
		must(t, err)
		return made, s
	}
	k, s := session(ledger.APIKey{})
	_, _, err := l.RevokeKey(ctx, k.ID)
	must(t, err)
	_, err = l.Session(ctx, s.Hash, noon)
	want(t, err, ledger.ErrNotFound)

	k, s = session(ledger.APIKey{Expires: noon.Add(time.Hour)})
	_, err = l.Session(ctx, s.Hash, k.Expires)
	want(t, err, ledger.ErrNotFound)

	s = exampleSession(a)
	s.KeyID = uuid.NewString()
	must(t, l.AddSession(ctx, s))
	_, err = l.Session(ctx, s.Hash, noon)
	want(t, err, ledger.ErrNotFound)
}

func testSignInLinks(t *testing.T, l *ledger.Ledger) {
	ctx := t.Context()
	a := account(t, l)
	link := func() ledger.SignInLink {
		return ledger.SignInLink{Hash: hashOf(), Account: a, Created: noon, Expires: noon.Add(15 * time.Minute)}
	}
	k := link()
	must(t, l.AddSignInLink(ctx, k))
	want(t, l.AddSignInLink(ctx, k), ledger.ErrExists)
	s := exampleSession("")
	got, err := l.AddSessionByLink(ctx, k.Hash, s)
	must(t, err)
	equal(t, "account", got.Account, a)
	kept, err := l.Session(ctx, s.Hash, noon)
	must(t, err)
	diff(t, "session", kept, got)
	_, err = l.AddSessionByLink(ctx, k.Hash, exampleSession(""))
	want(t, err, ledger.ErrNotFound)

	late := link()
	must(t, l.AddSignInLink(ctx, late))
	s = exampleSession("")
	s.Created = late.Expires
	_, err = l.AddSessionByLink(ctx, late.Hash, s)
	want(t, err, ledger.ErrNotFound)
	_, err = l.AddSessionByLink(ctx, hashOf(), exampleSession(""))
	want(t, err, ledger.ErrNotFound)

	// One that cannot begin a session is not used up.
	unspent := link()
	must(t, l.AddSignInLink(ctx, unspent))
	bad := exampleSession("")
	bad.CSRF = nil
	_, err = l.AddSessionByLink(ctx, unspent.Hash, bad)
	want(t, err, ledger.ErrInvalid)
	_, err = l.AddSessionByLink(ctx, unspent.Hash, exampleSession(""))
	must(t, err)

	gone := link()
	must(t, l.AddSignInLink(ctx, gone))
	must(t, l.DropSessions(ctx, gone.Expires))
	_, err = l.AddSessionByLink(ctx, gone.Hash, exampleSession(""))
	want(t, err, ledger.ErrNotFound)

	for name, spoil := range map[string]func(*ledger.SignInLink){
		"short hash": func(k *ledger.SignInLink) { k.Hash = nil },
		"no account": func(k *ledger.SignInLink) { k.Account = "" },
		"no end":     func(k *ledger.SignInLink) { k.Expires = k.Created },
	} {
		bad := link()
		spoil(&bad)
		if err := l.AddSignInLink(ctx, bad); !errors.Is(err, ledger.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	nobody := link()
	nobody.Account = "nobody"
	want(t, l.AddSignInLink(ctx, nobody), ledger.ErrNotFound)
}

// Of all who use one link at once, one is signed in.
func testSignInLinkRace(t *testing.T, l *ledger.Ledger) {
	k := ledger.SignInLink{Hash: hashOf(), Account: account(t, l), Created: noon, Expires: noon.Add(time.Hour)}
	must(t, l.AddSignInLink(t.Context(), k))
	var wg sync.WaitGroup
	var in atomic.Int64
	for range 8 {
		wg.Go(func() {
			switch _, err := l.AddSessionByLink(t.Context(), k.Hash, exampleSession("")); {
			case err == nil:
				in.Add(1)
			case !errors.Is(err, ledger.ErrNotFound):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	equal(t, "signed in", in.Load(), 1)
}
