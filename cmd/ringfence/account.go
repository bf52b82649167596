package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/cmd/internal/cli"
	"github.com/hmsovereign/ringfence/sync/portal"
)

type accountCmd struct {
	Create  accountCreateCmd  `cmd:"" help:"Make an account."`
	List    accountListCmd    `cmd:"" help:"List all accounts."`
	Show    accountShowCmd    `cmd:"" help:"Show an account and what it has left."`
	Update  accountUpdateCmd  `cmd:"" help:"Change an account."`
	Suspend accountSuspendCmd `cmd:"" help:"Let an account place and receive no more calls."`
	Resume  accountResumeCmd  `cmd:"" help:"Let a suspended account call again."`
	Link    accountLinkCmd    `cmd:"" help:"Make a link that signs in to an account's billing page, once."`
	Alert   accountAlertCmd   `cmd:"" help:"Say when the customer is told that credit runs low."`
}

// Help is shown by ringfence account --help.
func (*accountCmd) Help() string {
	return `An account pays for calls: it has credit, numbers, API keys, limits, a tariff, a language and a time zone.

  ringfence account create acme --company "Your Company"
  ringfence number add +31850835037 --account acme
  ringfence credit add acme --minutes 500 --reference INV-1`
}

const (
	listsAccounts = "ringfence account list"
	listsTariffs  = "ringfence tariff list"
)

var accountWords = cli.Words{
	Names: map[string]string{
		"id": "ID", "company_name": "--company", "email": "--email", "tariff": "--tariff", "language": "--language", "time_zone": "--time-zone",
		"limits.max_calls": "--max-calls", "limits.max_seconds": "--max-seconds", "limits.spend_per_day": "--spend-per-day",
	},
	Lists: map[string]string{"id": listsAccounts, "tariff": listsTariffs},
}

// accountFields are what can be said of an account at any time; nil is not said.
type accountFields struct {
	Email       *string      `placeholder:"ADDRESS" help:"E-mail address for billing."`
	Tariff      *string      `placeholder:"ID" help:"Tariff: what calls cost, and in which currency (default: the one called default)."`
	Language    *string      `placeholder:"CODE" help:"Language of what callers hear, such as en, nl or de."`
	TimeZone    *string      `name:"time-zone" placeholder:"ZONE" help:"Time zone of days and months, such as Europe/Amsterdam (default: UTC)."`
	MaxCalls    *int64       `name:"max-calls" placeholder:"N" help:"Most calls at once; 0: no limit."`
	MaxSeconds  *int64       `name:"max-seconds" placeholder:"N" help:"Most seconds of one call; 0: no limit."`
	SpendPerDay *cli.Minutes `name:"spend-per-day" placeholder:"MINUTES" help:"Most credit to spend in a day; 0: no limit."`
}

// body is what the API is sent.
func (f *accountFields) body() map[string]any {
	b, limits := map[string]any{}, map[string]any{}
	put(b, "email", f.Email)
	put(b, "tariff", f.Tariff)
	put(b, "language", f.Language)
	put(b, "time_zone", f.TimeZone)
	put(limits, "max_calls", f.MaxCalls)
	put(limits, "max_seconds", f.MaxSeconds)
	put(limits, "spend_per_day", f.SpendPerDay)
	if len(limits) > 0 {
		b["limits"] = limits
	}
	return b
}

// put sets a field that was given.
func put[T any](body map[string]any, name string, value *T) {
	if value != nil {
		body[name] = *value
	}
}

type accountCreateCmd struct {
	ID      cli.ID `arg:"" name:"ID" help:"Its id for ever: letters, digits, '.', '_' and '-'."`
	Company string `required:"" placeholder:"NAME" help:"Company name."`
	accountFields
	remote
}

// Help is shown by ringfence account create --help.
func (*accountCreateCmd) Help() string {
	return `A new account has no credit: give it some with ringfence credit add.

  ringfence account create acme --company "Your Company"
  ringfence account create acme --company "Your Company" --language nl --time-zone Europe/Amsterdam --max-calls 10 --spend-per-day 600`
}

// Run makes the account.
func (k *accountCreateCmd) Run(c *console) error {
	body := k.body()
	body["id"], body["company_name"] = k.ID, k.Company
	return ask(c, &k.remote, request{method: http.MethodPost, path: "accounts", body: body, words: accountWords}, showAccount)
}

type accountListCmd struct {
	remote
}

// Run lists the accounts.
func (k *accountListCmd) Run(c *console) error {
	return list(c, &k.remote, request{path: "accounts"}, "accounts", func(l *portal.AccountList) layout {
		if len(l.Accounts) == 0 {
			c.note("no accounts yet; make one with: ringfence account create ID --company NAME")
			return nil
		}
		t := cli.NewTable("account", "company", "status", "tariff", "currency", "numbers", "created")
		for _, a := range l.Accounts {
			t.Row(a.ID, a.Company, a.Status, a.Tariff, a.Currency, a.ActiveNumbers, a.Created)
		}
		return t
	})
}

type accountShowCmd struct {
	ID cli.ID `arg:"" name:"ID" help:"The account."`
	remote
}

// Run shows the account.
func (k *accountShowCmd) Run(c *console) error {
	return ask(c, &k.remote, request{method: http.MethodGet, path: cli.Path("accounts", k.ID.String()), words: accountWords}, showAccount)
}

type accountUpdateCmd struct {
	ID      cli.ID  `arg:"" name:"ID" help:"The account."`
	Company *string `placeholder:"NAME" help:"Company name."`
	accountFields
	remote
}

// Help is shown by ringfence account update --help.
func (*accountUpdateCmd) Help() string {
	return `Only what is given changes. An empty text clears a field, 0 removes a limit. Calls that are on keep the rate they began with.

  ringfence account update acme --max-calls 20 --spend-per-day 1200
  ringfence account update acme --email "" --max-seconds 0`
}

// Validate refuses an update that changes nothing.
func (k *accountUpdateCmd) Validate() error {
	if len(k.body()) == 0 {
		return errors.New("nothing to change: give --company, --email, --tariff, --language, --time-zone, --max-calls, --max-seconds or --spend-per-day")
	}
	return nil
}

func (k *accountUpdateCmd) body() map[string]any {
	b := k.accountFields.body()
	put(b, "company_name", k.Company)
	return b
}

// Run changes the account.
func (k *accountUpdateCmd) Run(c *console) error {
	return ask(c, &k.remote, request{method: http.MethodPatch, path: cli.Path("accounts", k.ID.String()), body: k.body(), words: accountWords}, showAccount)
}

type accountSuspendCmd struct {
	ID   cli.ID `arg:"" name:"ID" help:"The account."`
	Kill bool   `help:"End its live calls too."`
	remote
}

// Help is shown by ringfence account suspend --help.
func (*accountSuspendCmd) Help() string {
	return `New calls are refused with account_suspended; live ones go on, and are charged, unless --kill ends them.

  ringfence account suspend acme
  ringfence account suspend acme --kill`
}

// Run suspends the account.
func (k *accountSuspendCmd) Run(c *console) error {
	return ask(c, &k.remote, request{method: http.MethodPost, path: cli.Path("accounts", k.ID.String(), "suspend"),
		body: map[string]any{"kill": k.Kill}, words: accountWords}, showAccount)
}

type accountResumeCmd struct {
	ID cli.ID `arg:"" name:"ID" help:"The account."`
	remote
}

// Run resumes the account.
func (k *accountResumeCmd) Run(c *console) error {
	return ask(c, &k.remote, request{method: http.MethodPost, path: cli.Path("accounts", k.ID.String(), "resume"), words: accountWords}, showAccount)
}

func showAccount(a *portal.AccountView) layout {
	f := &cli.Fields{}
	f.Add("account", a.ID)
	f.Add("company", a.Company)
	f.Some("e-mail", a.Email)
	f.Add("status", a.Status)
	f.Add("tariff", a.Tariff+" ("+a.Currency+")")
	f.Some("language", a.Language)
	f.Add("time zone", a.TimeZone)
	f.Add("limits", limits(a.Limits))
	f.Add("numbers", a.ActiveNumbers)
	if a.Minutes != nil {
		f.Add("minutes", a.Minutes)
	}
	if a.Balance != nil {
		showBalance(f, a.Balance)
	}
	f.Each("asked to end", slices.Sorted(slices.Values(a.Killed)))
	f.Add("created", a.Created)
	return f
}

// showBalance adds what a balance is made of, in minutes, exactly.
func showBalance(f *cli.Fields, b *authz.Balance) {
	f.Add("available", b.Available.Credits())
	f.Add("held", b.Held.Credits())
	f.Add("granted", b.Granted.Credits())
	f.Add("settled", b.Settled.Credits())
	f.Add("spent today", b.SpentDay.Credits())
	f.Add("calls", b.Calls)
}

// limits tells an account's limits.
func limits(l authz.Limits) string {
	var s []string
	if l.MaxCalls > 0 {
		s = append(s, fmt.Sprintf("%d calls at once", l.MaxCalls))
	}
	if l.MaxSeconds > 0 {
		s = append(s, fmt.Sprintf("%d s a call", l.MaxSeconds))
	}
	if l.SpendPerDay > 0 {
		s = append(s, l.SpendPerDay.Credits()+" minutes a day")
	}
	if len(s) == 0 {
		return "none"
	}
	return strings.Join(s, ", ")
}
