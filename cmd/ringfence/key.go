package main

import (
	"net/http"
	"time"

	"github.com/hmsovereign/ringfence/cmd/internal/cli"
	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal/account"
)

type keyCmd struct {
	Create keyCreateCmd `cmd:"" help:"Make an API key for an account."`
	List   keyListCmd   `cmd:"" help:"List API keys, oldest first."`
	Revoke keyRevokeCmd `cmd:"" help:"Revoke an API key, at once and for ever."`
	Expire keyExpireCmd `cmd:"" help:"Say when an API key ends by itself."`
	Rotate keyRotateCmd `cmd:"" help:"Make an API key's successor, and let the old one end a little later."`
}

// Help is shown by ringfence key --help.
func (*keyCmd) Help() string {
	return `Customers send an API key with every request to the account API. A key is shown once, when it is made.

  ringfence key create acme --name "Website"
  curl -H "Authorization: Bearer $(ringfence key create acme --quiet)" http://127.0.0.1:8480/api/v1/account`
}

var keyWords = cli.Words{
	Names: map[string]string{"account": "ID", "name": "--name", "expires_at": "--expires", "grace_seconds": "--grace"},
	Lists: map[string]string{"account": listsAccounts},
}

// keyForm says how a key that has just been made is shown.
type keyForm struct {
	Quiet bool `short:"q" xor:"form" help:"Print the key alone."`
	JSON  bool `name:"json" xor:"form" help:"Print the admin API's answer, as JSON."`
	cli.Admin
}

// make sends a request that makes a key, and shows it.
func (f *keyForm) make(c *console, q request) error {
	return ask(c, &remote{JSON: f.JSON, Admin: f.Admin}, q, func(k *account.KeyMade) layout {
		if f.Quiet {
			return line(k.Key)
		}
		c.note("Keep the key in a safe place: it is not shown again.")
		l := showKey(&k.APIKey, k.Key)
		if k.Replaces == nil {
			return l
		}
		return blocks{l, showKey(k.Replaces, "")}
	})
}

type keyCreateCmd struct {
	ID      cli.ID      `arg:"" name:"ID" help:"The account."`
	Name    string      `placeholder:"TEXT" help:"What the key is for."`
	Expires *cli.Expiry `placeholder:"WHEN" help:"90d, 12h, 2026-12-31 or 2026-12-31T17:00:00Z (default: never)."`
	keyForm
}

// Help is shown by ringfence key create --help.
func (*keyCreateCmd) Help() string {
	return `The key is shown this once: only its hash is kept.

  ringfence key create acme --name "Website" --expires 365d
  KEY=$(ringfence key create acme --quiet)`
}

// Run makes the key.
func (k *keyCreateCmd) Run(c *console) error {
	body := map[string]any{"account": k.ID}
	if k.Name != "" {
		body["name"] = k.Name
	}
	if k.Expires != nil {
		body["expires_at"] = k.Expires.At(time.Now())
	}
	return k.make(c, request{method: http.MethodPost, path: "keys", body: body, words: keyWords})
}

type keyListCmd struct {
	ID *cli.ID `arg:"" optional:"" name:"ID" help:"The account (default: all of them)."`
	remote
}

// Run lists the keys.
func (k *keyListCmd) Run(c *console) error {
	q := request{method: http.MethodGet, path: "keys", words: keyWords}
	if k.ID != nil {
		q.query = query("account", k.ID.String())
	}
	return ask(c, &k.remote, q, func(l *struct {
		Keys []ledger.APIKey `json:"keys"`
	}) layout {
		if len(l.Keys) == 0 {
			c.note("no keys; make one with: ringfence key create ID")
			return nil
		}
		t := cli.NewTable("key id", "account", "begins with", "name", "created", "expires", "revoked", "last used")
		for _, v := range l.Keys {
			t.Row(v.ID, v.Account, v.Prefix, v.Name, v.Created, v.Expires, v.Revoked, v.LastUsed)
		}
		return t
	})
}

// oneKey names a key.
type oneKey struct {
	KeyID cli.ID `arg:"" name:"KEYID" help:"The key's id, as ringfence key list shows it; not the key itself."`
}

type keyRevokeCmd struct {
	oneKey
	remote
}

// Help is shown by ringfence key revoke --help.
func (*keyRevokeCmd) Help() string {
	return `Every sidecar refuses it within a second.

  ringfence key list acme
  ringfence key revoke 01a208f4-ca99-7073-8480-79f531fa0d8d`
}

// Run revokes the key.
func (k *keyRevokeCmd) Run(c *console) error {
	return ask(c, &k.remote, request{method: http.MethodDelete, path: cli.Path("keys", k.KeyID.String()), words: keyWords}, known)
}

type keyExpireCmd struct {
	oneKey
	At    *cli.Expiry `required:"" xor:"end" placeholder:"WHEN" help:"90d, 12h, 2026-12-31 or 2026-12-31T17:00:00Z."`
	Never bool        `required:"" xor:"end" help:"It does not end by itself."`
	remote
}

// Help is shown by ringfence key expire --help.
func (*keyExpireCmd) Help() string {
	return `  ringfence key expire 01a208f4-ca99-7073-8480-79f531fa0d8d --at 30d
  ringfence key expire 01a208f4-ca99-7073-8480-79f531fa0d8d --never`
}

// Run sets the key's end.
func (k *keyExpireCmd) Run(c *console) error {
	body := map[string]any{"expires_at": nil}
	if k.At != nil {
		body["expires_at"] = k.At.At(time.Now())
	}
	return ask(c, &k.remote, request{method: http.MethodPost, path: cli.Path("keys", k.KeyID.String(), "expire"), body: body,
		words: cli.Words{Names: map[string]string{"expires_at": "--at"}}}, known)
}

type keyRotateCmd struct {
	oneKey
	Grace *time.Duration `placeholder:"24h" help:"How long the old key counts beside the new one, up to 720h (default: 24h)."`
	keyForm
}

// Help is shown by ringfence key rotate --help.
func (*keyRotateCmd) Help() string {
	return `The new key has the old one's account, name and time to live.

  ringfence key rotate 01a208f4-ca99-7073-8480-79f531fa0d8d --grace 1h
  KEY=$(ringfence key rotate 01a208f4-ca99-7073-8480-79f531fa0d8d --quiet)`
}

// Run rotates the key.
func (k *keyRotateCmd) Run(c *console) error {
	body := map[string]any{}
	if k.Grace != nil {
		body["grace_seconds"] = int64(*k.Grace / time.Second)
	}
	return k.make(c, request{method: http.MethodPost, path: cli.Path("keys", k.KeyID.String(), "rotate"), body: body, words: keyWords})
}

// known shows what is known of a key.
func known(k *ledger.APIKey) layout { return showKey(k, "") }

// showKey shows a key, with the key itself where it is known.
func showKey(k *ledger.APIKey, key string) layout {
	f := &cli.Fields{}
	f.Some("key", key)
	f.Add("key id", k.ID)
	f.Add("account", k.Account)
	f.Some("name", k.Name)
	f.Some("begins with", k.Prefix)
	f.Add("created", k.Created)
	f.Some("expires", k.Expires)
	f.Some("revoked", k.Revoked)
	f.Some("last used", k.LastUsed)
	return f
}
