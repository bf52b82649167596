package portal

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Guard decides who may use the admin API and what else is the operators'.
type Guard struct {
	token  [sha256.Size]byte
	asked  bool // a token is configured
	origin *http.CrossOriginProtection
}

// NewGuard makes the guard of a token; empty: whoever asks from this machine.
func NewGuard(token string) Guard {
	return Guard{token: sha256.Sum256([]byte(token)), asked: token != "", origin: http.NewCrossOriginProtection()}
}

const setToken = "set RINGFENCE_ADMIN_TOKEN for the daemon and for whoever asks it"

// Check lets a request through: with the token where one is configured, else
// from the loopback interface. Loopback alone would let in what a browser on
// this machine is made to send by some page, and what a proxy here passes on,
// so those are turned away.
func (g *Guard) Check(r *http.Request) *Error {
	forbidden := func(text string) *Error {
		return &Error{Status: http.StatusForbidden, Code: CodeForbidden, Message: text}
	}
	if g.asked {
		return g.bearer(r)
	}
	if !loopback(r.RemoteAddr) {
		return forbidden("without an admin token only this machine may ask; " + setToken)
	}
	if !local(r.Host) {
		return forbidden("the Host must be localhost or a loopback address; " + setToken + " to use another name")
	}
	if r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "" {
		return forbidden("the request came through a proxy, so who asks is not known; " + setToken)
	}
	if g.origin.Check(r) != nil {
		return forbidden("the request came from a page of another site")
	}
	return nil
}

func (g *Guard) bearer(r *http.Request) *Error {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	given := sha256.Sum256([]byte(strings.TrimSpace(token)))
	right := subtle.ConstantTimeCompare(given[:], g.token[:]) == 1
	switch {
	case token == "" || !strings.EqualFold(scheme, "Bearer"):
		return &Error{Status: http.StatusUnauthorized, Code: CodeUnauthorized,
			Message: "an admin token is asked for: send Authorization: Bearer TOKEN (the CLI takes it from RINGFENCE_ADMIN_TOKEN)"}
	case !right:
		return &Error{Status: http.StatusUnauthorized, Code: CodeUnauthorized, Message: "the admin token is wrong"}
	}
	return nil
}

func loopback(remote string) bool {
	addr, err := netip.ParseAddrPort(remote)
	return err == nil && addr.Addr().Unmap().IsLoopback()
}

// local tells whether a Host header names this machine. A page whose name was
// made to resolve to 127.0.0.1 still sends its own name.
func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
