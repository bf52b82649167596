package usage

import "net/http"

// Once is a transport that tries each request once. Go's own repeats a request that carries an idempotency key when a
// connection breaks under it: then the answer to the repetition (too many requests) would pass for the answer to a
// request that has worked.
func Once(next http.RoundTripper) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	return once{next}
}

type once struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper. A body that cannot be had again is never sent again.
func (o once) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.WithContext(r.Context())
	r.GetBody = nil
	return o.next.RoundTrip(r)
}
