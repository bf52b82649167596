package app

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

func (a *App) listRefused(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
	page, total, err := a.Ledger.RefusedRecords(r.Context(), after, 100)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, "service_unavailable", err.Error(), "")
		return
	}
	type view struct {
		ID     int64     `json:"id"`
		Record string    `json:"record"`
		Reason string    `json:"reason"`
		Count  int64     `json:"count"`
		First  time.Time `json:"first_seen"`
		Last   time.Time `json:"last_seen"`
	}
	out := struct {
		Refused []view `json:"refused"`
		Total   int64  `json:"total"`
	}{Refused: []view{}, Total: total}
	for _, x := range page {
		out.Refused = append(out.Refused, view{x.ID, string(x.Raw), x.Reason, x.Count, x.FirstSeen, x.LastSeen})
	}
	answer(w, out)
}

func (a *App) refusedID(w http.ResponseWriter, r *http.Request) (int64, bool) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		refuse(w, http.StatusBadRequest, "invalid_request", "id is a number", "id")
	}
	return id, err == nil
}

func (a *App) retryRefused(w http.ResponseWriter, r *http.Request) {
	id, ok := a.refusedID(w, r)
	if !ok {
		return
	}
	res, err := a.Ledger.RetryRefused(r.Context(), id, a.then()...)
	if err == nil {
		err = a.late(r.Context(), res.UID)
	}
	a.refusedDone(w, err, map[string]string{"outcome": string(res.Outcome), "call_uid": res.UID.String()})
}

// late has a call's account rebuilt if its record came into the ledger only now,
// and Redis was rebuilt from the ledger without it before.
func (a *App) late(ctx context.Context, uid uuid.UUID) error {
	row, err := a.Ledger.Call(ctx, uid)
	if err != nil {
		return err
	}
	bases, err := a.Store.Bases(ctx, []string{row.Account})
	if err != nil {
		a.log.Warn("Redis does not say whether it lacks a charge that was refused before; the next comparison does", "account", row.Account, "error", err)
		return nil
	}
	if base, rebuilt := bases[row.Account]; rebuilt && row.Seq <= base {
		a.Rebuilder.Behind(row.Account)
	}
	return nil
}

// recorded tells the Keeper which calls it need keep no longer: those in the
// ledger, and those whose records the ledger has set aside, for an operator to
// decide. They would be refused again.
type recorded struct{ *ledger.Ledger }

// KnownCalls is the ledger's, with the refused ones.
func (r recorded) KnownCalls(ctx context.Context, uids []uuid.UUID) (map[uuid.UUID]authz.State, error) {
	known, err := r.Ledger.KnownCalls(ctx, uids)
	open := func(u uuid.UUID) bool { return known[u] != authz.StateSettled }
	if err != nil || !slices.ContainsFunc(uids, open) {
		return known, err
	}
	for after, most := int64(0), 100; most > 0; most-- {
		page, _, err := r.RefusedRecords(ctx, after, 100)
		if err != nil || len(page) == 0 {
			return known, err
		}
		for _, x := range page {
			after = x.ID
			if c, err := authz.ParseRecord(string(x.Raw)); err == nil && slices.Contains(uids, c.UID) && known[c.UID].Rank() < c.State.Rank() {
				known[c.UID] = c.State
			}
		}
	}
	return known, nil
}

func (a *App) discardRefused(w http.ResponseWriter, r *http.Request) {
	id, ok := a.refusedID(w, r)
	if !ok {
		return
	}
	a.refusedDone(w, a.Ledger.DiscardRefused(r.Context(), id), map[string]string{"outcome": "discarded"})
}

func (a *App) refusedDone(w http.ResponseWriter, err error, v any) {
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		refuse(w, http.StatusNotFound, "not_found", "there is no such refused record", "id")
	case errors.Is(err, ledger.ErrRefused):
		refuse(w, http.StatusConflict, "conflict", err.Error(), "id")
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, "service_unavailable", err.Error(), "")
	default:
		answer(w, v)
	}
}
