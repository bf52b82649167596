package app

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/notify"
)

// openNotifier makes what tells customers of their calls and their credit.
func (a *App) openNotifier() (err error) {
	c := a.cfg
	var billing string
	if c.Public.URL != "" {
		billing = c.Public.URL.Reveal() + "/billing"
	}
	a.notifier, err = notify.New(notify.Config{Holder: c.Instance, Allow: c.Notify.Allow, HTTP: c.Notify.HTTP, Timeout: c.Notify.Timeout,
		GiveUp: c.Notify.GiveUpAfter, Keep: c.Notify.Keep, Letters: c.Notify.KeepDead, BillingURL: billing, Changed: a.noticesChanged,
		SMTP: notify.SMTP{Addr: c.SMTP.Server, From: c.SMTP.From, Username: c.SMTP.Username, Password: c.SMTP.Password.Reveal(), TLS: c.SMTP.TLS, Timeout: c.SMTP.Timeout},
	}, a.Ledger, a.log, notify.NewMetrics(a.reg))
	return err
}

// then is what happens in each transaction that takes calls into the ledger.
func (a *App) then() []ledger.Then { return []ledger.Then{a.notifier.Ended} }

// noticesChanged has the sidecars know at once who wants to be told; they would find out soon anyway.
func (a *App) noticesChanged(ctx context.Context, id string) {
	// A revision read before the account is not above that of what is read.
	rev, err := a.Ledger.Revision(ctx)
	var acct authz.Account
	if err == nil {
		acct, err = a.Ledger.Account(ctx, id)
	}
	if err == nil {
		err = a.Directory.PutAccount(ctx, rev, acct)
	}
	if err != nil {
		a.log.Debug("an account's webhooks or alerts are not in the directory yet; it follows the ledger", "account", id, "error", err)
	}
}

// wanted says what an account wants to hear of while its calls go on, for the balance store's scripts. It is asked for
// each answer and extension, never for an authorize.
func (a *App) wanted(id string) (answers, alerts bool, below credit.Units) {
	if a.Directory == nil {
		return false, false, 0
	}
	acct, ok := a.Directory.Account(id)
	if !ok {
		return false, false, 0
	}
	return acct.Notify, acct.Notify || acct.AlertBelow > 0, acct.AlertBelow
}

// WebhookView is a webhook as the admin API shows it. Secret is shown only when it is set.
type WebhookView struct {
	Account  string    `json:"account"`
	NumberID string    `json:"number_id,omitempty"` // empty: the account's own
	Number   string    `json:"number,omitempty"`
	URL      string    `json:"url"`
	Secret   string    `json:"secret,omitempty"`
	Updated  time.Time `json:"updated_at"`
}

// WebhookList is an account's webhooks and alerts.
type WebhookList struct {
	Webhooks []WebhookView `json:"webhooks"`
	Alerts   AlertsView    `json:"alerts"`
}

// AlertsView is when an account is told that credit runs low.
type AlertsView struct {
	Account   string         `json:"account"`
	Below     credit.Minutes `json:"below_minutes"` // 0: never
	Email     bool           `json:"email"`
	LowAt     time.Time      `json:"low_at,omitzero"`       // told, and not topped up since
	Exhausted time.Time      `json:"exhausted_at,omitzero"` // told, and not topped up since
}

// DeliveryView is a message to a customer as the admin API shows it.
type DeliveryView struct {
	ID       uuid.UUID       `json:"id"`
	Account  string          `json:"account"`
	Endpoint string          `json:"endpoint"`
	Event    string          `json:"event"`
	Topic    string          `json:"topic,omitempty"`
	State    string          `json:"state"`
	Attempts int64           `json:"attempts"`
	Due      time.Time       `json:"due_at"`
	Error    string          `json:"error,omitempty"`
	Created  time.Time       `json:"created_at"`
	Done     time.Time       `json:"done_at,omitzero"`
	Body     json.RawMessage `json:"body"`
}

// DeliveryList is a page of messages, newest first.
type DeliveryList struct {
	Deliveries []DeliveryView `json:"deliveries"`
	Total      int64          `json:"total"`
}

// addNotices adds to the admin API what concerns webhooks, alerts and deliveries.
func (a *App) addNotices(add func(pattern string, h http.HandlerFunc)) {
	add("GET /admin/v1/webhooks", a.showWebhooks)
	add("PUT /admin/v1/webhooks", a.setWebhook)
	add("DELETE /admin/v1/webhooks", a.removeWebhook)
	add("POST /admin/v1/webhooks/test", a.testWebhook)
	add("PUT /admin/v1/alerts", a.setAlerts)
	add("GET /admin/v1/deliveries", a.listDeliveries)
	add("POST /admin/v1/deliveries/replay", a.replayDead)
	add("POST /admin/v1/deliveries/{id}/replay", a.replayOne)
}

// whose reads which webhook a request is about: an account's, or with number one of its numbers'.
func (a *App) whose(w http.ResponseWriter, r *http.Request) (account string, n authz.Number, ok bool) {
	q := r.URL.Query()
	account = q.Get("account")
	if account == "" {
		refuse(w, http.StatusBadRequest, "missing_field", "account is missing", "account")
		return "", n, false
	}
	if e164 := q.Get("number"); e164 != "" {
		found, err := a.Ledger.Number(r.Context(), e164)
		if errors.Is(err, ledger.ErrNotFound) || err == nil && found.Account != account {
			refuse(w, http.StatusNotFound, "not_found", "the account has no such number", "number")
			return "", n, false
		}
		if err != nil {
			refuseNotice(w, err)
			return "", n, false
		}
		n = found
	}
	return account, n, true
}

// refuseNotice answers an error of the notifier or the ledger.
func refuseNotice(w http.ResponseWriter, err error) {
	var field *ledger.FieldError
	switch {
	case errors.As(err, &field):
		refuse(w, http.StatusBadRequest, "invalid_request", field.Message, field.Field)
	case errors.Is(err, ledger.ErrNotFound):
		refuse(w, http.StatusNotFound, "not_found", err.Error(), "")
	case errors.Is(err, ledger.ErrConflict):
		refuse(w, http.StatusConflict, "conflict", err.Error(), "")
	case errors.Is(err, ledger.ErrInvalid):
		refuse(w, http.StatusBadRequest, "invalid_request", err.Error(), "")
	default:
		refuse(w, http.StatusServiceUnavailable, "service_unavailable", err.Error(), "")
	}
}

// readNotice reads a small JSON object; unknown fields are refused.
func readNotice(w http.ResponseWriter, r *http.Request, v any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<10))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		refuse(w, http.StatusBadRequest, "invalid_request", "the body cannot be read: "+err.Error(), "")
		return false
	}
	return true
}

func (a *App) showWebhooks(w http.ResponseWriter, r *http.Request) {
	account, _, ok := a.whose(w, r)
	if !ok {
		return
	}
	alerts, err := a.Ledger.Alerts(r.Context(), account)
	if err != nil {
		refuseNotice(w, err)
		return
	}
	hooks, err := a.Ledger.Webhooks(r.Context(), account)
	if err != nil {
		refuseNotice(w, err)
		return
	}
	numbers, err := a.Ledger.Numbers(r.Context(), account)
	if err != nil {
		refuseNotice(w, err)
		return
	}
	named := map[string]string{}
	for _, n := range numbers {
		named[n.ID] = n.E164
	}
	out := WebhookList{Webhooks: []WebhookView{}, Alerts: alertsView(&alerts)}
	for _, h := range hooks {
		out.Webhooks = append(out.Webhooks, WebhookView{h.Account, h.NumberID, named[h.NumberID], h.URL, "", h.UpdatedAt})
	}
	answer(w, out)
}

func alertsView(x *ledger.Alerts) AlertsView {
	return AlertsView{x.Account, credit.Minutes(x.Below), x.Email, x.LowAt, x.ExhaustedAt}
}

func (a *App) setWebhook(w http.ResponseWriter, r *http.Request) {
	account, n, ok := a.whose(w, r)
	if !ok {
		return
	}
	var in struct{ URL, Secret string }
	if !readNotice(w, r, &in) {
		return
	}
	if in.URL == "" {
		refuse(w, http.StatusBadRequest, "missing_field", "url is missing", "url")
		return
	}
	h, err := a.notifier.PutWebhook(r.Context(), ledger.Webhook{Account: account, NumberID: n.ID, URL: in.URL, Secret: in.Secret})
	if err != nil {
		refuseNotice(w, err)
		return
	}
	answer(w, WebhookView{h.Account, h.NumberID, n.E164, h.URL, h.Secret, h.UpdatedAt})
}

func (a *App) removeWebhook(w http.ResponseWriter, r *http.Request) {
	account, n, ok := a.whose(w, r)
	if !ok {
		return
	}
	if err := a.notifier.RemoveWebhook(r.Context(), account, n.ID); err != nil {
		refuseNotice(w, err)
		return
	}
	answer(w, map[string]string{"outcome": "removed"})
}

// TestView is what a test message came to.
type TestView struct {
	Delivered bool   `json:"delivered"`
	Error     string `json:"error,omitempty"`
	Millis    int64  `json:"milliseconds"`
}

func (a *App) testWebhook(w http.ResponseWriter, r *http.Request) {
	account, n, ok := a.whose(w, r)
	if !ok {
		return
	}
	// A test may take as long as any try.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(2 * time.Minute))
	took, err := a.notifier.Test(r.Context(), account, n.ID)
	var kind *ledger.Error
	if errors.As(err, &kind) {
		refuseNotice(w, err)
		return
	}
	answer(w, TestView{err == nil, failed(err), took.Milliseconds()})
}

func (a *App) setAlerts(w http.ResponseWriter, r *http.Request) {
	account, _, ok := a.whose(w, r)
	if !ok {
		return
	}
	var in struct {
		Below *credit.Minutes `json:"below_minutes"`
		Email *bool           `json:"email"`
	}
	if !readNotice(w, r, &in) {
		return
	}
	now, err := a.changeAlerts(r.Context(), account, in.Below, in.Email)
	if err != nil {
		refuseNotice(w, err)
		return
	}
	answer(w, alertsView(&now))
}

// changeAlerts changes what is said of an account's alerts.
func (a *App) changeAlerts(ctx context.Context, account string, below *credit.Minutes, email *bool) (ledger.Alerts, error) {
	now, err := a.notifier.Alerts(ctx, account)
	if err != nil {
		return now, err
	}
	if below != nil {
		now.Below = credit.Units(*below)
	}
	if email != nil {
		now.Email = *email
	}
	if err := a.notifier.SetAlerts(ctx, now); err != nil {
		return now, err
	}
	return a.notifier.Alerts(ctx, account)
}

func (a *App) listDeliveries(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	state := q.Get("state")
	switch state {
	case "", ledger.DeliveryPending, ledger.DeliveryDelivered, ledger.DeliveryDead:
	default:
		refuse(w, http.StatusBadRequest, "invalid_request", "state is pending, delivered or dead", "state")
		return
	}
	limit, offset := 100, 0
	for _, n := range []struct {
		name string
		into *int
		most int
	}{{"limit", &limit, 1000}, {"offset", &offset, 1_000_000}} {
		if v := q.Get(n.name); v != "" {
			got, err := strconv.Atoi(v)
			if err != nil || got < 0 || got > n.most {
				refuse(w, http.StatusBadRequest, "invalid_request", n.name+" is a number from 0 to "+strconv.Itoa(n.most), n.name)
				return
			}
			*n.into = got
		}
	}
	page, total, err := a.Ledger.Deliveries(r.Context(), q.Get("account"), state, limit, offset)
	if err != nil {
		refuseNotice(w, err)
		return
	}
	out := DeliveryList{Deliveries: []DeliveryView{}, Total: total}
	for _, d := range page {
		out.Deliveries = append(out.Deliveries, DeliveryView{d.ID, d.Account, d.Endpoint, d.Event, d.Topic, d.State, d.Attempts, d.Due, d.Error, d.CreatedAt, d.DoneAt, d.Body})
	}
	answer(w, out)
}

func (a *App) replayOne(w http.ResponseWriter, r *http.Request) {
	id, err := uuid.Parse(r.PathValue("id"))
	if err != nil {
		refuse(w, http.StatusBadRequest, "invalid_request", "id is a UUID", "id")
		return
	}
	if err := a.Ledger.Replay(r.Context(), id); err != nil {
		refuseNotice(w, err)
		return
	}
	answer(w, map[string]int64{"replayed": 1})
}

func (a *App) replayDead(w http.ResponseWriter, r *http.Request) {
	account, _, ok := a.whose(w, r)
	if !ok {
		return
	}
	n, err := a.Ledger.ReplayDead(r.Context(), account)
	if err != nil {
		refuseNotice(w, err)
		return
	}
	answer(w, map[string]int64{"replayed": n})
}
