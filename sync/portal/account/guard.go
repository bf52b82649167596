package account

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/hmsovereign/ringfence/sync/portal"
)

// guard decides who may use the admin API of keys, by the rules of package
// portal's: whoever has the token, or where none is configured whoever asks from
// this machine itself, and not through a proxy or a page of another site.
type guard struct {
	token  [sha256.Size]byte
	asked  bool
	origin *http.CrossOriginProtection
}

func newGuard(token string) guard {
	return guard{token: sha256.Sum256([]byte(token)), asked: token != "", origin: http.NewCrossOriginProtection()}
}

func (g *guard) check(r *http.Request) *portal.Error {
	if g.asked {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		given := sha256.Sum256([]byte(strings.TrimSpace(token)))
		if subtle.ConstantTimeCompare(given[:], g.token[:]) == 1 && strings.EqualFold(scheme, "Bearer") {
			return nil
		}
		return &portal.Error{Status: http.StatusUnauthorized, Code: portal.CodeUnauthorized,
			Message: "the admin token is missing or wrong: send Authorization: Bearer TOKEN (the CLI takes it from RINGFENCE_ADMIN_TOKEN)"}
	}
	proxied := r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != ""
	if !loopback(r.RemoteAddr) || !loopback(r.Host) || proxied || g.origin.Check(r) != nil {
		return &portal.Error{Status: http.StatusForbidden, Code: portal.CodeForbidden,
			Message: "without an admin token only this machine itself may ask: set RINGFENCE_ADMIN_TOKEN for the daemon and for whoever asks it"}
	}
	return nil
}

// loopback tells whether host or host:port is this machine. A page whose name
// was made to resolve to 127.0.0.1 still sends its own name as Host.
func loopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}
