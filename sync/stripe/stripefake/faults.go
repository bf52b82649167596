package stripefake

import (
	"cmp"
	"net/http"
	"path"
	"slices"
	"time"
)

// FaultKind is what goes wrong with a request.
type FaultKind int

// The kinds of faults.
const (
	Refuse FaultKind = iota // it is answered with Status, and has no effect
	Hang                    // it is not answered, and has no effect
	Cut                     // the connection breaks before it has an effect
	Lose                    // it takes effect, and the connection breaks before the answer
)

// Fault is something that goes wrong with the next requests.
type Fault struct {
	Kind       FaultKind
	Method     string        // GET, POST, DELETE; "": any
	Path       string        // pattern of path.Match, as /v1/invoices/*/pay; "": any path of the API
	Skip       int           // matching requests that pass first
	Times      int           // requests that fail; default 1
	Status     int           // of Refuse; default 500
	Param      string        // of Refuse: the parameter that is refused; "": none is named
	Keep       bool          // of Refuse: the answer is kept under the idempotency key, as Stripe keeps its own errors
	RetryAfter time.Duration // of Refuse: header Retry-After, in seconds; 0: none
	For        time.Duration // of Hang: how long before the connection breaks; 0: until the client gives up
}

// Inject has something go wrong with the next requests that match. Faults apply in the order of their injection.
func (f *Fake) Inject(fault Fault) {
	fault.Times = cmp.Or(fault.Times, 1)
	fault.Status = cmp.Or(fault.Status, http.StatusInternalServerError)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, &fault)
}

// ClearFaults takes back all faults that were not used up.
func (f *Fake) ClearFaults() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// fault returns what goes wrong with a request; nil: nothing.
func (f *Fake) fault(r *http.Request) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, fault := range f.faults {
		if fault.Method != "" && fault.Method != r.Method {
			continue
		}
		if matched, err := path.Match(fault.Path, r.URL.Path); fault.Path != "" && (err != nil || !matched) {
			continue
		}
		if fault.Skip > 0 {
			fault.Skip--
			continue
		}
		fault.Times--
		if fault.Times == 0 {
			f.faults = slices.Delete(f.faults, i, i+1)
		}
		return fault
	}
	return nil
}

// refusal is how Stripe words a status.
func (f *Fake) refusal(fault *Fault, requestID string) (int, []byte) {
	err := &Error{Status: fault.Status, Type: typeAPI, Param: fault.Param, Message: "An unknown error occurred"}
	if fault.Status < http.StatusInternalServerError {
		err.Type, err.Message = typeInvalid, "The request was refused on purpose"
	}
	switch fault.Status {
	case http.StatusTooManyRequests:
		err.Code = "rate_limit"
		err.Message = "Request rate limit exceeded. You can learn more about rate limits here https://stripe.com/docs/rate-limits."
	case http.StatusServiceUnavailable:
		err.Message = "Stripe is temporarily unavailable"
	}
	return err.Status, encode(err.envelope(requestID))
}

// hang keeps a request waiting, then breaks it off.
func (f *Fake) hang(w http.ResponseWriter, r *http.Request, fault *Fault) {
	timer := time.NewTimer(cmp.Or(fault.For, time.Hour))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	case <-f.ctx.Done():
	}
	breakOff(w)
}

// breakOff closes a request's connection in the middle of the answer's first line. With no byte of it, Go's transport
// would send a request that carries an Idempotency-Key once more by itself, and its caller never know.
func breakOff(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		// A recorder, or HTTP/2: an answer that no client takes for Stripe's.
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	_, _ = conn.Write([]byte("HTTP/1.1 ")) // broken on purpose, so it does not matter if it is already
	_ = conn.Close()
}
