package portal

import (
	"net/http"

	"github.com/hmsovereign/ringfence/authz"
)

func (a *Admin) addNumber(w http.ResponseWriter, r *http.Request) (int, any, error) {
	var number, account, name *string
	if err := body(w, r, object{"number": &number, "account": &account, "name": &name}, false); err != nil {
		return 0, nil, err
	}
	var c checks
	e164, doubt := c.number("number", value(number))
	c.id("account", value(account))
	c.text("name", value(name), mostName)
	if err := c.err(); err != nil {
		return 0, nil, err
	}
	ctx := r.Context()
	made, rev, err := a.Book.AddNumber(ctx, authz.Number{E164: e164, Account: *account, Name: value(name), Created: a.now()})
	if err != nil {
		param := "number"
		if kindOf(err) == ErrNotFound {
			param = "account"
		}
		return 0, nil, bookError(err, param, true)
	}
	a.done(r, "number added", "account", made.Account, "number", authz.Mask(e164))
	warnings := a.unfinished("", "not every sidecar knows the number", a.Mirror.PutNumber(ctx, rev, made))
	status := accepted(http.StatusCreated, warnings)
	if doubt != "" {
		warnings = append(warnings, doubt)
	}
	return status, NumberView{Number: made, Warnings: warnings}, nil
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (a *Admin) removeNumber(w http.ResponseWriter, r *http.Request) (int, any, error) {
	var kill bool
	if err := body(w, r, object{"kill": &kill}, true); err != nil {
		return 0, nil, err
	}
	// What was recorded once can be removed, whatever the numbering plan says today.
	e164 := r.PathValue("number")
	if _, ok := a.Directory.Number(e164); !ok {
		var c checks
		e164, _ = c.number("number", e164)
		if err := c.err(); err != nil {
			return 0, nil, err
		}
	}
	ctx := r.Context()
	was, rev, err := a.Book.RemoveNumber(ctx, e164)
	if err != nil {
		return 0, nil, bookError(err, "number", true)
	}
	a.done(r, "number removed", "account", was.Account, "number", authz.Mask(e164), "kill", kill)
	warnings := a.unfinished("", "not every sidecar knows that the number is gone", a.Mirror.DropNumber(ctx, rev, e164))
	v := NumberView{Number: was}
	if kill {
		v.Killed, err = a.killAll(ctx, was.Account, func(c *authz.Call) bool { return c.Detail.NumberID == was.ID })
		if err != nil {
			warnings = append(warnings, "not every live call was asked to end ("+bookError(err, "", true).Message+
				"): see ringfence call list --account "+was.Account)
		}
	}
	v.Warnings = warnings
	return accepted(http.StatusOK, warnings), v, nil
}

func (a *Admin) listNumbers(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	q := readQuery(r, "account", "after", "limit")
	account, after, limit := q.text("account"), q.text("after"), int(q.number("limit", pageDefault, 1, pageMost))
	err := q.err()
	if err == nil {
		err = a.ready()
	}
	if err == nil && account != "" {
		_, err = a.account(r.Context(), "account", account)
	}
	if err != nil {
		return 0, nil, err
	}
	page := a.Directory.Numbers(account, after, limit+1)
	list := NumberList{Numbers: make([]NumberView, 0, min(len(page), limit))}
	for i, n := range page {
		if i == limit {
			list.Next = page[i-1].E164
			break
		}
		list.Numbers = append(list.Numbers, NumberView{Number: n})
	}
	return http.StatusOK, list, nil
}
