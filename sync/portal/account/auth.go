package account

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/hmsovereign/ringfence/sync/portal"
)

// identify finds who asks, or says why nobody. The key is set even where it is
// expired or revoked: its requests are counted all the same.
func (s *Server) identify(ctx context.Context, r *http.Request) (Caller, *Error) {
	key, e := bearer(r)
	if e != nil {
		return Caller{}, e
	}
	known, err := s.keys.find(ctx, key)
	switch {
	case errors.Is(err, errUnknownKey):
		return Caller{}, errInvalidKey
	case err != nil:
		return Caller{}, storeError(err)
	}
	c := Caller{Key: known}
	now := s.cfg.Now()
	switch {
	case !known.Revoked.IsZero(): // by whatever clock
		return c, unauthorized(CodeKeyRevoked, "This API key was revoked at "+stamp(known.Revoked).String()+".")
	case expired(&known, now):
		return c, unauthorized(CodeKeyExpired, "This API key expired at "+stamp(known.Expires).String()+".")
	}
	account, ok := s.cfg.Directory.Account(known.Account)
	if !ok {
		// The key is real, so the account is: this sidecar has not heard of it yet.
		return c, unavailable(errors.New("the directory does not have the account of key "+known.ID),
			"This account is not known here yet. Please try again.")
	}
	c.Account = account
	return c, nil
}

var (
	errNoKey      = unauthorized(portal.CodeUnauthorized, "Missing API key. Send it as Authorization: Bearer YOUR_API_KEY.")
	errInvalidKey = unauthorized(portal.CodeUnauthorized, "Invalid API key.")
)

// bearer takes the key out of a request.
func bearer(r *http.Request) (string, *Error) {
	given := r.Header.Values("Authorization")
	if len(given) == 0 {
		return "", errNoKey
	}
	scheme, key, _ := strings.Cut(given[0], " ")
	if len(given) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return "", unauthorized(portal.CodeUnauthorized, "Send one API key, as Authorization: Bearer YOUR_API_KEY.")
	}
	if key = strings.TrimSpace(key); !WellFormed(key) {
		return "", errInvalidKey
	}
	return key, nil
}

// count counts a request: of a key in the window that all sidecars share, of
// anybody else by address, here. The answer's headers say where that stands.
func (s *Server) count(ctx context.Context, h http.Header, r *http.Request, c Caller) *Error {
	var v verdict
	by := "key"
	if c.Key.ID != "" {
		v = s.limit.shared(ctx, c.Key.ID)
	} else {
		by = "address"
		v = s.limit.own(Peer(r.RemoteAddr))
	}
	after := s.limit.write(h, v)
	if v.allowed {
		return nil
	}
	s.cfg.Metrics.limited.WithLabelValues(by).Inc()
	return rateExceeded(after)
}

// Peer is the address that a request without a key is counted under: an IPv6
// network of 64 bits is one customer's.
func Peer(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return "address:" + host
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if net, err := addr.Prefix(64); err == nil {
			return "address:" + net.String()
		}
	}
	return "address:" + addr.String()
}
