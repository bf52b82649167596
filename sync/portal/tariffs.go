package portal

import (
	"net/http"

	"github.com/hmsovereign/ringfence/authz/tariff"
)

// putTariff takes a tariff file, YAML or JSON, as it is.
func (a *Admin) putTariff(w http.ResponseWriter, r *http.Request) (int, any, error) {
	if err := readQuery(r).err(); err != nil {
		return 0, nil, err
	}
	b, err := readBody(w, r, tariffLimit)
	if err != nil {
		return 0, nil, err
	}
	t, err := tariff.Parse(b)
	if err != nil {
		return 0, nil, tariffErrors(err)
	}
	ctx := r.Context()
	now, rev, err := a.Book.PutTariff(ctx, t)
	if err != nil {
		param := ""
		if kindOf(err) == ErrConflict {
			param = "currency"
		}
		return 0, nil, bookError(err, param, true)
	}
	a.done(r, "tariff put", "tariff", now.ID(), "version", now.Version())
	v := tariffView(now)
	v.Warnings = a.unfinished("", "not every sidecar knows the tariff", a.Mirror.PutTariff(ctx, rev, now))
	return accepted(http.StatusOK, v.Warnings), v, nil
}

func (a *Admin) listTariffs(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	err := readQuery(r).err()
	if err == nil {
		err = a.ready()
	}
	if err != nil {
		return 0, nil, err
	}
	tables := a.Directory.Tariffs()
	list := TariffList{Tariffs: make([]TariffView, len(tables))}
	for i, t := range tables {
		list.Tariffs[i] = tariffView(t)
	}
	return http.StatusOK, list, nil
}

// showTariff gives a tariff in the form in which it can be put again.
func (a *Admin) showTariff(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	id, err := pathID(r)
	if err == nil {
		err = readQuery(r).err()
	}
	if err != nil {
		return 0, nil, err
	}
	t, err := a.Book.Tariff(r.Context(), id)
	if err != nil {
		return 0, nil, bookError(err, "id", false)
	}
	return http.StatusOK, t, nil
}
