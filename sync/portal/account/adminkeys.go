package account

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hmsovereign/ringfence/sync/ledger"
	"github.com/hmsovereign/ringfence/sync/portal"
)

// KeysPath is where the admin API of keys is mounted, with all below it.
const KeysPath = portal.AdminPath + "keys"

// maxKeyName bounds a key's name, in bytes.
const maxKeyName = 200

// KeyAdminConfig is what the admin API of keys works with.
type KeyAdminConfig struct {
	Keys    *Keys
	Token   string        // bearer token; empty: peers on the loopback interface only
	Timeout time.Duration // of one request, 10 s
	Log     *slog.Logger
}

// KeyAdmin is the operator's API of keys, an http.Handler for [KeysPath]:
//
//	GET    /admin/v1/keys?account=ID       {"keys":[...]}, everybody's without account
//	POST   /admin/v1/keys                  {"account","name"?,"expires_at"?} -> 201, with "key": shown once
//	POST   /admin/v1/keys/{id}/expire      {"expires_at": time or null}
//	POST   /admin/v1/keys/{id}/rotate      {"grace_seconds"?} -> 201 {..., "key", "replaces": {...}}
//	DELETE /admin/v1/keys/{id}             revoked at once; again changes nothing
//
// Its form is that of package portal's admin API.
type KeyAdmin struct {
	cfg   KeyAdminConfig
	guard portal.Guard
	mux   *http.ServeMux
}

// NewKeyAdmin makes the handler.
func NewKeyAdmin(cfg KeyAdminConfig) *KeyAdmin {
	cfg.Timeout = cmp.Or(cfg.Timeout, 10*time.Second)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	a := &KeyAdmin{cfg: cfg, guard: portal.NewGuard(cfg.Token), mux: http.NewServeMux()}
	for path, methods := range map[string]map[string]keyEndpoint{
		"":             {"GET": a.list, "POST": a.create},
		"/{id}":        {"DELETE": a.revoke},
		"/{id}/expire": {"POST": a.expire},
		"/{id}/rotate": {"POST": a.rotate},
	} {
		a.mux.HandleFunc(KeysPath+path, a.serve(methods))
	}
	a.mux.HandleFunc("/", a.serve(nil))
	return a
}

// ServeHTTP answers requests under [KeysPath].
func (a *KeyAdmin) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// keyEndpoint works one request. It gives the status and body of the answer.
type keyEndpoint func(r *http.Request) (status int, body any, err error)

// KeyMade is the answer to a request that made a key.
type KeyMade struct {
	ledger.APIKey
	Key      string         `json:"key"`                // shown here and never again
	Replaces *ledger.APIKey `json:"replaces,omitempty"` // the one it was rotated from
}

func (a *KeyAdmin) serve(methods map[string]keyEndpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), a.cfg.Timeout)
		defer cancel()
		secure(w.Header(), r)
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		status, body, err := a.answer(w, r.WithContext(ctx), methods)
		if err == nil {
			WriteJSON(w, status, body)
			return
		}
		e := adminError(err)
		if e.Status >= http.StatusInternalServerError {
			a.cfg.Log.Error("admin request failed", logMethod, r.Method, logPath, clip(r.URL.Path), logError, err)
		}
		WriteJSON(w, e.Status, map[string]*portal.Error{"error": e})
	}
}

func (a *KeyAdmin) answer(w http.ResponseWriter, r *http.Request, methods map[string]keyEndpoint) (int, any, error) {
	if e := a.guard.Check(r); e != nil {
		if e.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		a.cfg.Log.Warn("admin request refused", logMethod, r.Method, logRemote, r.RemoteAddr, logReason, e.Message)
		return 0, nil, e
	}
	if methods == nil {
		return 0, nil, &portal.Error{Status: http.StatusNotFound, Code: portal.CodeNotFound, Message: fmt.Sprintf("there is no %q in the admin API", clip(r.URL.Path))}
	}
	work, ok := methods[r.Method]
	if !ok {
		allowed := strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
		w.Header().Set("Allow", allowed)
		return 0, nil, &portal.Error{Status: http.StatusMethodNotAllowed, Code: portal.CodeMethodNotAllowed, Message: "use " + allowed + " here"}
	}
	return work(r)
}

func (a *KeyAdmin) list(r *http.Request) (int, any, error) {
	q := readParams(r, "account")
	if q.err != nil {
		return 0, nil, refused(q.err.Param, q.err.Message)
	}
	keys, err := a.cfg.Keys.List(r.Context(), q.text("account"))
	if keys == nil {
		keys = []ledger.APIKey{}
	}
	return http.StatusOK, map[string]any{"keys": keys}, err
}

func (a *KeyAdmin) create(r *http.Request) (int, any, error) {
	var in struct {
		Account string     `json:"account"`
		Name    string     `json:"name"`
		Expires *time.Time `json:"expires_at"`
	}
	if err := readObject(r, &in); err != nil {
		return 0, nil, err
	}
	switch {
	case in.Account == "":
		return 0, nil, &portal.Error{Status: http.StatusBadRequest, Code: portal.CodeMissingField, Param: "account", Message: "is required"}
	case len(in.Name) > maxKeyName:
		return 0, nil, refused("name", fmt.Sprintf("is longer than %d bytes", maxKeyName))
	}
	var expires time.Time
	if in.Expires != nil {
		expires = *in.Expires
	}
	key, made, err := a.cfg.Keys.Create(r.Context(), in.Account, in.Name, expires)
	if err != nil {
		return 0, nil, err
	}
	a.done(r, "API key made", &made)
	return http.StatusCreated, KeyMade{APIKey: made, Key: key}, nil
}

func (a *KeyAdmin) revoke(r *http.Request) (int, any, error) {
	now, err := a.cfg.Keys.Revoke(r.Context(), r.PathValue("id"))
	if err != nil {
		return 0, nil, err
	}
	a.done(r, "API key revoked", &now)
	return http.StatusOK, now, nil
}

func (a *KeyAdmin) expire(r *http.Request) (int, any, error) {
	var in struct {
		Expires json.RawMessage `json:"expires_at"`
	}
	if err := readObject(r, &in); err != nil {
		return 0, nil, err
	}
	if in.Expires == nil {
		return 0, nil, &portal.Error{Status: http.StatusBadRequest, Code: portal.CodeMissingField, Param: "expires_at", Message: "is required: a time, or null for a key that does not expire"}
	}
	var at *time.Time
	if json.Unmarshal(in.Expires, &at) != nil {
		return 0, nil, refused("expires_at", "must be an RFC 3339 time or null")
	}
	if at == nil {
		at = &time.Time{}
	}
	now, err := a.cfg.Keys.Expire(r.Context(), r.PathValue("id"), *at)
	if err != nil {
		return 0, nil, err
	}
	a.done(r, "API key's end set", &now)
	return http.StatusOK, now, nil
}

func (a *KeyAdmin) rotate(r *http.Request) (int, any, error) {
	var in struct {
		Grace *int64 `json:"grace_seconds"`
	}
	if err := readObject(r, &in); err != nil {
		return 0, nil, err
	}
	grace := DefaultGrace
	if in.Grace != nil {
		if *in.Grace < 0 || *in.Grace > int64(MaxGrace/time.Second) {
			return 0, nil, refused("grace_seconds", ErrGrace.Error())
		}
		grace = time.Duration(*in.Grace) * time.Second
	}
	key, made, old, err := a.cfg.Keys.Rotate(r.Context(), r.PathValue("id"), grace)
	if err != nil {
		return 0, nil, err
	}
	a.done(r, "API key rotated", &made)
	return http.StatusCreated, KeyMade{APIKey: made, Key: key, Replaces: &old}, nil
}

func (a *KeyAdmin) done(r *http.Request, what string, k *ledger.APIKey) {
	a.cfg.Log.Info("admin: "+what, "key_id", k.ID, logPrefix, k.Prefix, logAccount, k.Account, logRemote, r.RemoteAddr)
}

// readObject reads a JSON object; unknown fields are refused by name, and no
// body at all is an object without fields.
func readObject(r *http.Request, into any) error {
	body, err := io.ReadAll(r.Body)
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return &portal.Error{Status: http.StatusRequestEntityTooLarge, Code: portal.CodeTooLarge, Message: "the body is too large"}
	case err != nil:
		return refused("", "the body broke off")
	case !utf8.Valid(body):
		return refused("", "the body is not UTF-8")
	case len(bytes.TrimSpace(body)) == 0:
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return badJSON(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return refused("", "something follows the JSON object")
	}
	return nil
}

// badJSON says what is wrong with a body, by field where it can.
func badJSON(err error) error {
	if typed, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return refused(typed.Field, "cannot be a "+typed.Value)
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return refused(strings.Trim(name, `"`), "is not a known field")
	}
	if _, ok := errors.AsType[*time.ParseError](err); ok {
		return refused("expires_at", "must be an RFC 3339 time")
	}
	return refused("", "must be a JSON object: "+clip(err.Error()))
}

func refused(param, message string) *portal.Error {
	return &portal.Error{Status: http.StatusBadRequest, Code: portal.CodeInvalidRequest, Param: param, Message: message}
}

// adminError turns what a request ran into into an error answer.
func adminError(err error) *portal.Error {
	if own, ok := errors.AsType[*portal.Error](err); ok {
		return own
	}
	answer := func(status int, code string) *portal.Error {
		return &portal.Error{Status: status, Code: code, Message: err.Error()}
	}
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return answer(http.StatusNotFound, portal.CodeNotFound)
	case errors.Is(err, ledger.ErrExists), errors.Is(err, ErrKeyOver):
		return answer(http.StatusConflict, portal.CodeConflict)
	case errors.Is(err, ErrPast):
		return refused("expires_at", ErrPast.Error())
	case errors.Is(err, ledger.ErrInvalid):
		return answer(http.StatusBadRequest, portal.CodeInvalidRequest)
	case errors.Is(err, ledger.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return &portal.Error{Status: http.StatusServiceUnavailable, Code: portal.CodeUnavailable,
			Message: "the ledger did not answer, so it is not known whether the change was recorded: list the keys, and repeat it if it was not"}
	}
	return &portal.Error{Status: http.StatusInternalServerError, Code: portal.CodeInternal, Message: "something is wrong here; the log says what"}
}
