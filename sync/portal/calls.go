package portal

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
)

// errEnough ends a scan that has found what it looked for.
var errEnough = errors.New("enough")

func (a *Admin) listCalls(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	q := readQuery(r, "account", "limit")
	account, limit := q.text("account"), int(q.number("limit", pageMost, 1, callsMost))
	if err := q.err(); err != nil {
		return 0, nil, err
	}
	ctx := r.Context()
	if account != "" {
		if _, err := a.account(ctx, "account", account); err != nil {
			return 0, nil, err
		}
	}
	var calls []authz.Call
	more := false
	seen := map[authz.Key]bool{}
	err := a.eachLive(ctx, account, func(c authz.Call) error {
		switch {
		case seen[c.Key]:
		case len(calls) == limit:
			more = true
			return errEnough
		default:
			seen[c.Key] = true
			calls = append(calls, c)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return 0, nil, bookError(err, "", false)
	}
	slices.SortFunc(calls, func(x, y authz.Call) int {
		return cmp.Or(cmp.Compare(x.CreatedAt, y.CreatedAt), cmp.Compare(x.Key.String(), y.Key.String()))
	})
	now := a.Now().UnixMilli()
	list := CallList{Calls: make([]CallView, len(calls)), Truncated: more}
	for i := range calls {
		list.Calls[i] = callView(&calls[i], now)
	}
	return http.StatusOK, list, nil
}

func live(c *authz.Call) bool { return c.State == authz.StateHeld || c.State == authz.StateLive }

// eachLive goes through the calls that hold credit: an account's out of its
// balance, everybody's out of memory and the live index.
func (a *Admin) eachLive(ctx context.Context, account string, fn func(authz.Call) error) error {
	if account != "" {
		return a.Calls.Calls(ctx, account, func(c authz.Call, err error) error {
			if err != nil || !live(&c) {
				return nil // the meter reports what cannot be read
			}
			return fn(c)
		})
	}
	return a.eachKnown(ctx, func(known authz.Call) error {
		c, err := a.Calls.Call(ctx, known.Account, known.Key)
		switch {
		case errors.Is(err, authz.ErrUnknownCall):
			return nil
		case err != nil:
			return err
		case !live(&c):
			return nil
		}
		return fn(c)
	})
}

// own gives the calls that this sidecar has in memory.
func (a *Admin) own() []authz.Call {
	if o, ok := a.Killer.(Owner); ok {
		return o.Calls()
	}
	return nil
}

// eachKnown goes through the live calls as far as they are known without
// reading them: key and account, and of this sidecar's the uid.
func (a *Admin) eachKnown(ctx context.Context, fn func(authz.Call) error) error {
	seen := map[authz.Key]bool{}
	for _, c := range a.own() {
		seen[c.Key] = true
		if err := fn(c); err != nil {
			return err
		}
	}
	for partition := range a.Calls.Partitions() {
		err := a.Calls.ScanIndex(ctx, partition, func(x authz.Indexed) error {
			if seen[x.Key] {
				return nil
			}
			return fn(authz.Call{Key: x.Key, Account: x.Account})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// findMost is how many calls a name may mean before it is refused.
const findMost = 20

// find gives the calls that a text may mean: a key as lists show it, a call id,
// or a call uid; within one account, where that is given, ended ones too.
func (a *Admin) find(ctx context.Context, text, account string) ([]authz.Call, error) {
	if key, err := authz.ParseKey(text); err == nil {
		c, err := a.findKey(ctx, key, account)
		if err == nil {
			return []authz.Call{c}, nil
		}
		if !errors.Is(err, authz.ErrUnknownCall) {
			return nil, err
		}
		// A call id may look like a key.
	}
	uid, _ := uuid.Parse(text)
	means := func(c *authz.Call) bool { return c.CallID == text || uid != uuid.Nil && c.UID == uid }
	var found []authz.Call
	seen := map[authz.Key]bool{}
	take := func(c authz.Call) error {
		if means(&c) && !seen[c.Key] {
			seen[c.Key] = true
			found = append(found, c)
		}
		if len(found) == findMost {
			return errEnough
		}
		return nil
	}
	var err error
	if account != "" {
		err = a.Calls.Calls(ctx, account, func(c authz.Call, err error) error {
			if err != nil || c.State == authz.StateMark {
				return nil
			}
			return take(c)
		})
	} else {
		err = a.eachKnown(ctx, func(known authz.Call) error {
			// The index knows no uids: to find one there, its calls are read.
			unread := uid != uuid.Nil && known.UID == uuid.Nil
			if !means(&known) && !unread {
				return nil
			}
			c, err := a.Calls.Call(ctx, known.Account, known.Key)
			if errors.Is(err, authz.ErrUnknownCall) || err == nil && c.State == authz.StateMark {
				return nil
			}
			if err != nil {
				return err
			}
			return take(c)
		})
	}
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	if len(found) == 0 {
		return nil, authz.ErrUnknownCall
	}
	return found, nil
}

func (a *Admin) findKey(ctx context.Context, key authz.Key, account string) (authz.Call, error) {
	if account == "" {
		var err error
		if account, err = a.accountOf(ctx, key); err != nil {
			return authz.Call{}, err
		}
	}
	c, err := a.Calls.Call(ctx, account, key)
	if err == nil && c.State == authz.StateMark {
		err = authz.ErrUnknownCall
	}
	return c, err
}

func (a *Admin) accountOf(ctx context.Context, key authz.Key) (string, error) {
	account, err := a.Calls.Find(ctx, key)
	if !errors.Is(err, authz.ErrUnknownCall) {
		return account, err
	}
	for _, c := range a.own() {
		if c.Key == key {
			return c.Account, nil
		}
	}
	return "", err
}

// one finds the call that a text means, and refuses a text that means several.
func (a *Admin) one(ctx context.Context, text, account string) (authz.Call, error) {
	found, err := a.find(ctx, text, account)
	if errors.Is(err, authz.ErrUnknownCall) {
		hint := "no live call is called %.200q; calls that ended lately are found with their account"
		if account != "" {
			hint = "this account has no call %.200q, or it ended more than 15 minutes ago"
		}
		return authz.Call{}, notFound("call", hint, text)
	}
	if err != nil {
		return authz.Call{}, bookError(err, "", false)
	}
	if len(found) == 1 {
		return found[0], nil
	}
	alive := slices.DeleteFunc(slices.Clone(found), func(c authz.Call) bool { return !live(&c) })
	if len(alive) == 1 {
		return alive[0], nil
	}
	names := make([]string, len(found))
	for i := range found {
		names[i] = found[i].Key.String() + " of account " + found[i].Account
	}
	slices.Sort(names)
	return authz.Call{}, conflict("call", "it may be any of these, so name one: %s", strings.Join(names, ", "))
}

func (a *Admin) showCall(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	q := readQuery(r, "call", "account")
	var c checks
	c.given("call", q.text("call"))
	if err := join(append(q.errs, c.errs...)); err != nil {
		return 0, nil, err
	}
	call, err := a.one(r.Context(), q.text("call"), q.text("account"))
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, callView(&call, a.Now().UnixMilli()), nil
}

func (a *Admin) killCall(w http.ResponseWriter, r *http.Request) (int, any, error) {
	var text, account *string
	if err := body(w, r, object{"call": &text, "account": &account}, false); err != nil {
		return 0, nil, err
	}
	var c checks
	if c.given("call", value(text)); len(c.errs) > 0 {
		return 0, nil, c.err()
	}
	ctx := r.Context()
	call, err := a.one(ctx, *text, value(account))
	if err != nil {
		return 0, nil, err
	}
	killed, err := a.Killer.Kill(ctx, call.Account, call.Key)
	if err != nil {
		return 0, nil, bookError(err, "call", true)
	}
	a.done(r, "call killed", "account", call.Account, "call", call.Key.String())
	return http.StatusAccepted, callView(&killed, a.Now().UnixMilli()), nil
}

// killAll asks all live calls of an account to end for which want is true. It
// goes on past a failure and gives the first.
func (a *Admin) killAll(ctx context.Context, account string, want func(*authz.Call) bool) (killed []string, err error) {
	keys := map[authz.Key]bool{}
	err = a.eachLive(ctx, account, func(c authz.Call) error {
		if want(&c) {
			keys[c.Key] = true
		}
		return nil
	})
	for k := range keys {
		_, e := a.Killer.Kill(ctx, account, k)
		switch {
		case e == nil:
			killed = append(killed, k.String())
		case errors.Is(e, authz.ErrCallEnded), errors.Is(e, authz.ErrUnknownCall): // it ended by itself
		case err == nil:
			err = e
		}
	}
	slices.Sort(killed)
	return killed, err
}

func (a *Admin) listOrphans(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	if err := readQuery(r).err(); err != nil {
		return 0, nil, err
	}
	list := OrphanList{Orphans: []OrphanView{}}
	if a.Orphans != nil {
		for _, e := range a.Orphans() {
			list.Orphans = append(list.Orphans, orphanView(&e))
		}
	}
	return http.StatusOK, list, nil
}
