package stripefake

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxBody bounds what is read of a request.
const maxBody = 1 << 20

// Request is one that the API got, for tests to look at.
type Request struct {
	Method         string
	Path           string
	Params         url.Values // of the query or the body
	IdempotencyKey string
	Version        string // Stripe-Version
	Status         int    // answered; 0 where the connection was broken
	At             time.Time
}

// call is a request that a handler works on.
type call struct {
	*params
	id   string // {id} of the path
	id2  string // {id2} of the path
	path string
}

// answer is kept for each idempotency key.
type answer struct {
	digest [sha256.Size]byte
	status int
	body   []byte
	at     time.Time
}

// keyLife is how long Stripe remembers an idempotency key at least.
const keyLife = 24 * time.Hour

// ServeHTTP implements http.Handler: the API below /v1/, and the pages.
func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mux.ServeHTTP(w, r)
}

// handler works a request with the lock held. It reads all parameters, calls check, and only then changes anything.
type handler func(*call) (object, *Error)

func (f *Fake) api(pattern string, handle handler) {
	f.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { f.serve(w, r, handle) })
}

func (f *Fake) serve(w http.ResponseWriter, r *http.Request, handle handler) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "request too long, or broken off", http.StatusBadRequest)
		return
	}
	encoded := r.URL.RawQuery
	if r.Method == http.MethodPost {
		encoded = string(body)
	}
	seen := Request{
		Method: r.Method, Path: r.URL.Path, IdempotencyKey: r.Header.Get("Idempotency-Key"),
		Version: r.Header.Get("Stripe-Version"),
	}
	seen.Params, _ = url.ParseQuery(encoded) // what is wrong with it, parseParams says
	fault := f.fault(r)
	if fault != nil && fault.Kind == Hang {
		f.saw(seen)
		f.hang(w, r, fault)
		return
	}
	if fault != nil && fault.Kind == Cut {
		f.saw(seen)
		breakOff(w)
		return
	}
	requestID := f.requestID()
	var status int
	var reply []byte
	var replayed bool
	switch {
	case fault != nil && fault.Kind == Refuse:
		status, reply = f.refusal(fault, requestID)
		if fault.Keep && r.Method == http.MethodPost && seen.IdempotencyKey != "" {
			f.keepAnswer(seen.IdempotencyKey, digest(r, encoded), status, reply)
		}
		if fault.RetryAfter > 0 {
			w.Header().Set("Retry-After", fmt.Sprint(int(fault.RetryAfter.Seconds())))
		}
	default:
		status, reply, replayed = f.answer(r, encoded, requestID, handle)
	}
	if fault != nil && fault.Kind == Lose {
		f.saw(seen)
		breakOff(w)
		return
	}
	seen.Status = status
	f.saw(seen)
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Request-Id", requestID)
	header.Set("Stripe-Version", f.cfg.Version)
	if replayed {
		header.Set("Idempotent-Replayed", "true")
	}
	if seen.IdempotencyKey != "" {
		header.Set("Idempotency-Key", seen.IdempotencyKey)
	}
	w.WriteHeader(status)
	if _, err := w.Write(reply); err != nil {
		f.log.Debug("stripefake: answer", "error", err)
	}
}

// digest tells requests apart.
func digest(r *http.Request, encoded string) [sha256.Size]byte {
	return sha256.Sum256([]byte(r.URL.Path + "\n" + encoded))
}

// keepAnswer keeps an answer for an idempotency key.
func (f *Fake) keepAnswer(key string, sum [sha256.Size]byte, status int, body []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[key] = &answer{digest: sum, status: status, body: body, at: f.time()}
}

func (f *Fake) requestID() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return "req_" + f.random(14)
}

func (f *Fake) saw(r Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.At = f.time()
	const keep = 20_000
	if len(f.requests) >= keep {
		f.requests = f.requests[keep/2:]
	}
	f.requests = append(f.requests, r)
}

// Requests returns what the API was asked so far, faults included.
func (f *Fake) Requests() []Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Request(nil), f.requests...)
}

// answer works a request and returns the status and the body.
func (f *Fake) answer(r *http.Request, encoded, requestID string, handle handler) (int, []byte, bool) {
	refuse := func(err *Error) (int, []byte, bool) { return err.Status, encode(err.envelope(requestID)), false }
	if err := f.authenticate(r); err != nil {
		return refuse(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if version, _, _ := strings.Cut(r.Header.Get("Stripe-Version"), ";"); version != "" && version != f.cfg.Version {
		return refuse(invalid("", "", "Invalid Stripe API version: %s. This account accepts %s", version, f.cfg.Version))
	}
	params, err := parseParams(encoded)
	if err != nil {
		return refuse(err)
	}
	expand := params.strs("expand")

	key := r.Header.Get("Idempotency-Key")
	sum := digest(r, encoded)
	if key != "" && r.Method == http.MethodPost {
		if len(key) > 255 {
			return refuse(invalid("", "", "Idempotency key is too long: at most 255 characters"))
		}
		if known, ok := f.answers[key]; ok && f.time().Sub(known.at) < keyLife {
			if known.digest != sum {
				return refuse(&Error{Status: http.StatusBadRequest, Type: typeIdempotency, Message: fmt.Sprintf(
					"Keys for idempotent requests can only be used with the same parameters they were first used with. "+
						"Try using a key other than '%s' if you meant to execute a different request.", key)})
			}
			return known.status, known.body, true
		}
	}
	f.key = key
	c := &call{params: params, id: r.PathValue("id"), id2: r.PathValue("id2"), path: r.URL.Path}
	o, err := handle(c)
	f.key = ""
	if err == nil {
		err = c.check() // what a handler forgot to read
	}
	status, reply := http.StatusOK, []byte(nil)
	if err == nil {
		o = clone(o)
		err = f.expand(o, expand)
	}
	if err != nil {
		status, reply = err.Status, encode(err.envelope(requestID))
	} else {
		reply = encode(o)
	}
	// Stripe keeps answers, declined payments and its own errors, but no refusals of parameters.
	if key != "" && r.Method == http.MethodPost && (status < 400 || status == http.StatusPaymentRequired || status >= 500) {
		f.answers[key] = &answer{digest: sum, status: status, body: reply, at: f.time()}
	}
	return status, reply, false
}

func (f *Fake) authenticate(r *http.Request) *Error {
	key, _, ok := r.BasicAuth()
	if !ok {
		key, ok = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	}
	switch {
	case !ok || key == "":
		return &Error{Status: http.StatusUnauthorized, Type: typeInvalid, Message: "You did not provide an API key. " +
			"You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."}
	case key != f.cfg.Key:
		return &Error{Status: http.StatusUnauthorized, Type: typeInvalid, Message: "Invalid API Key provided: " + masked(key)}
	}
	return nil
}

// masked hides a key as Stripe does.
func masked(key string) string {
	const shown = 4
	if len(key) <= 2*shown {
		return strings.Repeat("*", len(key))
	}
	return key[:shown] + strings.Repeat("*", len(key)-2*shown) + key[len(key)-shown:]
}

// unknownURL answers requests for what Stripe, or the fake, has not.
func (f *Fake) unknownURL(w http.ResponseWriter, r *http.Request) {
	f.serve(w, r, func(c *call) (object, *Error) {
		return nil, &Error{Status: http.StatusNotFound, Type: typeInvalid, Message: fmt.Sprintf(
			"Unrecognized request URL (%s: %s). Please see https://stripe.com/docs or we can help at https://support.stripe.com/.", r.Method, r.URL.Path)}
	})
}

func encode(o object) []byte {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(o); err != nil {
		return []byte(`{"error":{"type":"api_error","message":"the answer cannot be encoded"}}`)
	}
	return buffer.Bytes()
}
