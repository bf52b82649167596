package portal

import (
	"context"
	"net/http"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

const (
	defaultTariff = "default"
	defaultZone   = "UTC"
)

// parentRefused is what becomes of a parent until there are hierarchical holds.
const parentRefused refusal = "cannot be set: accounts under a reseller do not exist yet; leave it out"

// accountInput is what a request says of an account; nil is not said.
type accountInput struct {
	id                                         *string
	company, email, tariff, language, timeZone *string
	maxCalls, maxSeconds                       *int64
	spendPerDay                                *credit.Units
}

func (in *accountInput) fields() object {
	return object{
		"company_name": &in.company, "email": &in.email, "tariff": &in.tariff,
		"language": &in.language, "time_zone": &in.timeZone, "parent": parentRefused,
		"limits": object{"max_calls": &in.maxCalls, "max_seconds": &in.maxSeconds, "spend_per_day": &in.spendPerDay},
	}
}

// apply sets on an account what the request says, but for the tariff, which
// must be looked up.
func (in *accountInput) apply(a *authz.Account) {
	set := func(to *string, from *string) {
		if from != nil {
			*to = *from
		}
	}
	set(&a.Company, in.company)
	set(&a.Email, in.email)
	set(&a.Language, in.language)
	set(&a.TimeZone, in.timeZone)
	if in.maxCalls != nil {
		a.Limits.MaxCalls = int(*in.maxCalls)
	}
	if in.maxSeconds != nil {
		a.Limits.MaxSeconds = *in.maxSeconds
	}
	if in.spendPerDay != nil {
		a.Limits.SpendPerDay = *in.spendPerDay
	}
}

// body reads a request's object; no body at all is one without fields where
// that is allowed.
func body(w http.ResponseWriter, r *http.Request, fields object, mayBeEmpty bool) error {
	if err := readQuery(r).err(); err != nil {
		return err
	}
	b, err := readBody(w, r, bodyLimit)
	if err != nil {
		return err
	}
	return decode(b, fields, mayBeEmpty)
}

// pathID reads the account or tariff id of the path.
func pathID(r *http.Request) (string, error) {
	var c checks
	id := r.PathValue("id")
	c.id("id", id)
	return id, c.err()
}

// tariffOf reads the tariff that a request gives an account.
func (a *Admin) tariffOf(ctx context.Context, id string, write bool) (*tariff.Table, error) {
	var c checks
	if c.id("tariff", id); len(c.errs) > 0 {
		return nil, c.err()
	}
	t, err := a.Book.Tariff(ctx, id)
	if err != nil {
		return nil, bookError(err, "tariff", write)
	}
	return t, nil
}

func (a *Admin) createAccount(w http.ResponseWriter, r *http.Request) (int, any, error) {
	var in accountInput
	fields := in.fields()
	fields["id"] = &in.id
	if err := body(w, r, fields, false); err != nil {
		return 0, nil, err
	}
	acct := authz.Account{Status: authz.Active, Tariff: a.Tariff, TimeZone: defaultZone, Created: a.now()}
	if in.id != nil {
		acct.ID = *in.id
	}
	if in.tariff != nil {
		acct.Tariff = *in.tariff
	}
	in.apply(&acct)
	var c checks
	c.id("id", acct.ID)
	c.account(&acct)
	if err := c.err(); err != nil {
		return 0, nil, err
	}
	ctx := r.Context()
	table, err := a.tariffOf(ctx, acct.Tariff, false)
	if err != nil {
		return 0, nil, err
	}
	acct.Currency = table.Currency()
	made, rev, err := a.Book.CreateAccount(ctx, acct)
	if err != nil {
		return 0, nil, bookError(err, "id", true)
	}
	a.done(r, "account created", "account", made.ID)
	warnings := a.unfinished(made.ID, "not every sidecar knows the account", a.Mirror.PutAccount(ctx, rev, made))
	warnings = append(warnings, a.unfinished(made.ID, "the account has no balance yet",
		a.Balances.OpenAccount(ctx, made.ID, made.Status, day(made, a.Now())))...)
	v := AccountView{Account: made, Warnings: warnings}
	return accepted(http.StatusCreated, warnings), v, nil
}

func (a *Admin) updateAccount(w http.ResponseWriter, r *http.Request) (int, any, error) {
	id, err := pathID(r)
	if err != nil {
		return 0, nil, err
	}
	var in accountInput
	fields := in.fields()
	fields["id"] = refusal("cannot be changed")
	fields["status"] = refusal("is changed by suspend and resume")
	fields["currency"] = refusal("is its tariff's")
	if err := body(w, r, fields, false); err != nil {
		return 0, nil, err
	}
	ctx := r.Context()
	var table *tariff.Table
	if in.tariff != nil {
		if table, err = a.tariffOf(ctx, *in.tariff, false); err != nil {
			return 0, nil, err
		}
	}
	now, rev, err := a.Book.UpdateAccount(ctx, id, func(acct *authz.Account) error {
		in.apply(acct)
		if table != nil {
			if table.Currency() != acct.Currency {
				return conflict("tariff", "%q is in %s, and the account's credit was bought in %s", table.ID(), table.Currency(), acct.Currency)
			}
			acct.Tariff = table.ID()
		}
		var c checks
		c.account(acct)
		return c.err()
	})
	if err != nil {
		return 0, nil, bookError(err, "id", true)
	}
	a.done(r, "account updated", "account", id)
	warnings := a.unfinished(id, "not every sidecar knows the change", a.Mirror.PutAccount(ctx, rev, now))
	return accepted(http.StatusOK, warnings), AccountView{Account: now, ActiveNumbers: a.Directory.NumberCount(id), Warnings: warnings}, nil
}

func (a *Admin) suspendAccount(w http.ResponseWriter, r *http.Request) (int, any, error) {
	var kill bool
	if err := body(w, r, object{"kill": &kill}, true); err != nil {
		return 0, nil, err
	}
	return a.setStatus(r, authz.Suspended, kill)
}

func (a *Admin) resumeAccount(w http.ResponseWriter, r *http.Request) (int, any, error) {
	if err := body(w, r, object{}, true); err != nil {
		return 0, nil, err
	}
	return a.setStatus(r, authz.Active, false)
}

// setStatus suspends or resumes. Asked again, it does again what may have been
// interrupted.
func (a *Admin) setStatus(r *http.Request, status authz.AccountStatus, kill bool) (int, any, error) {
	id, err := pathID(r)
	if err != nil {
		return 0, nil, err
	}
	ctx := r.Context()
	now, rev, err := a.Book.UpdateAccount(ctx, id, func(acct *authz.Account) error {
		acct.Status = status
		return nil
	})
	if err != nil {
		return 0, nil, bookError(err, "id", true)
	}
	a.done(r, "account status", "account", id, "status", status, "kill", kill)
	warnings := a.unfinished(id, "not every sidecar knows the status", a.Mirror.PutAccount(ctx, rev, now))
	warnings = append(warnings, a.unfinished(id, "the balance store does not know the status", a.Balances.SetStatus(ctx, id, status))...)
	v := AccountView{Account: now, ActiveNumbers: a.Directory.NumberCount(id)}
	if kill {
		killed, err := a.killAll(ctx, id, func(*authz.Call) bool { return true })
		v.Killed = killed
		if err != nil {
			warnings = append(warnings, "not every live call was asked to end ("+bookError(err, "", true).Message+"): ask again")
		}
	}
	v.Warnings = warnings
	return accepted(http.StatusOK, warnings), v, nil
}

func (a *Admin) listAccounts(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	q := readQuery(r, "after", "limit")
	after, limit := q.text("after"), int(q.number("limit", pageDefault, 1, pageMost))
	if err := q.err(); err != nil {
		return 0, nil, err
	}
	if err := a.ready(); err != nil {
		return 0, nil, err
	}
	page := a.Directory.Accounts(after, limit+1)
	list := AccountList{Accounts: make([]AccountView, 0, min(len(page), limit))}
	for i, acct := range page {
		if i == limit {
			list.Next = page[i-1].ID
			break
		}
		list.Accounts = append(list.Accounts, AccountView{Account: *acct, ActiveNumbers: a.Directory.NumberCount(acct.ID)})
	}
	return http.StatusOK, list, nil
}

// account finds an account in the directory, or in the book where another
// sidecar made it this very moment.
func (a *Admin) account(ctx context.Context, param, id string) (authz.Account, error) {
	if acct, ok := a.Directory.Account(id); ok {
		return *acct, nil
	}
	acct, err := a.Book.Account(ctx, id)
	if err != nil {
		return authz.Account{}, bookError(err, param, false)
	}
	return acct, nil
}

func (a *Admin) showAccount(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	id, err := pathID(r)
	if err == nil {
		err = readQuery(r).err()
	}
	if err != nil {
		return 0, nil, err
	}
	ctx := r.Context()
	acct, err := a.account(ctx, "id", id)
	if err != nil {
		return 0, nil, err
	}
	v := AccountView{Account: acct, ActiveNumbers: a.Directory.NumberCount(id)}
	b, calls, err := readBalance(ctx, a.Balances, a.Calls, id)
	if err != nil {
		e := bookError(err, "", false)
		a.complain(r, "/accounts/{id}", e)
		v.Warnings = append(v.Warnings, "the balance is not known: "+e.Message)
		return http.StatusOK, v, nil
	}
	minutes := MinutesBalance(b, calls, a.Now().UnixMilli())
	v.Balance, v.Minutes = &b, &minutes
	return http.StatusOK, v, nil
}
