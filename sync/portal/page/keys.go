package page

import (
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/hmsovereign/ringfence/sync/ledger"
)

type keysData struct {
	form
	Rows []keyRow
	Made string // a key that was made just now; shown this once
	Name string // of it
}

type keyRow struct {
	ledger.APIKey
	State string // live, expired, revoked
	Own   bool   // the one this session was begun with
}

const (
	longestName = 100
	mostKeys    = 50 // of an account, that count
)

// lives are how long a new key may be told to last.
var lives = map[string]time.Duration{"": 0, "30d": 30 * 24 * time.Hour, "90d": 90 * 24 * time.Hour, "365d": 365 * 24 * time.Hour}

func (p *Page) fillKeys(v *visit, d *keysData) error {
	keys, err := p.cfg.Keys.List(v.ctx, v.account.ID)
	if err != nil {
		return err
	}
	now, loc := p.cfg.Now(), location(v.account)
	for _, k := range keys {
		r := keyRow{APIKey: k, State: "live", Own: k.ID == v.session.KeyID}
		switch {
		case !k.Revoked.IsZero():
			r.State = "revoked"
		case !k.Expires.IsZero() && !now.Before(k.Expires):
			r.State = "expired"
		}
		for _, t := range []*time.Time{&r.Created, &r.Expires, &r.Revoked, &r.LastUsed} {
			if !t.IsZero() {
				*t = t.In(loc)
			}
		}
		d.Rows = append(d.Rows, r)
	}
	slices.Reverse(d.Rows) // newest first
	slices.SortStableFunc(d.Rows, func(x, y keyRow) int { return order(x.State) - order(y.State) })
	return nil
}

func order(state string) int { return slices.Index([]string{"live", "expired", "revoked"}, state) }

func (p *Page) showKeys(v *visit) error {
	d := &keysData{form: form{Values: map[string]string{"name": "", "lasts": ""}}}
	if err := p.fillKeys(v, d); err != nil {
		return err
	}
	return v.render(http.StatusOK, "keys", "keys", d)
}

func (p *Page) makeKey(v *visit) error {
	d := &keysData{form: v.typed("name", "lasts")}
	if err := p.fillKeys(v, d); err != nil {
		return err
	}
	name := d.Values["name"]
	if name == "" {
		d.wrong("name", v.lang.text("keys.no_name"))
	} else if utf8.RuneCountInString(name) > longestName || !utf8.ValidString(name) {
		d.wrong("name", v.lang.text("details.too_long", "most", longestName))
	}
	lasts, ok := lives[d.Values["lasts"]]
	if !ok {
		d.wrong("lasts", v.lang.text("keys.bad_life"))
	}
	live := 0
	for i := range d.Rows {
		if d.Rows[i].State == "live" {
			live++
		}
	}
	if live >= mostKeys {
		d.wrong("name", v.lang.text("keys.too_many", "most", mostKeys))
	}
	if d.Bad() {
		return v.render(http.StatusUnprocessableEntity, "keys", "keys", d)
	}
	var expires time.Time
	if lasts > 0 {
		expires = p.cfg.Now().Add(lasts)
	}
	key, made, err := p.cfg.Keys.Create(v.ctx, v.account.ID, name, expires)
	if err != nil {
		return err
	}
	p.cfg.Log.Info("API key made on the billing page", "key_id", made.ID, "prefix", made.Prefix, logAccount, v.account.ID)
	// No redirection here: the key is kept nowhere that the next page could take it from.
	d = &keysData{form: form{Values: map[string]string{"name": "", "lasts": ""}}, Made: key, Name: name}
	if err := p.fillKeys(v, d); err != nil {
		return err
	}
	return v.render(http.StatusCreated, "keys", "keys", d)
}

// revokeKey ends a key of this account. Others are not found.
func (p *Page) revokeKey(v *visit) error {
	keys, err := p.cfg.Keys.List(v.ctx, v.account.ID)
	if err != nil {
		return err
	}
	id := v.r.PathValue("id")
	if !slices.ContainsFunc(keys, func(k ledger.APIKey) bool { return k.ID == id }) {
		return errNotFound
	}
	if _, err := p.cfg.Keys.Revoke(v.ctx, id); err != nil {
		return err
	}
	p.cfg.Log.Info("API key revoked on the billing page", "key_id", id, logAccount, v.account.ID)
	return v.redirect(Path + "/keys?done=revoked")
}
