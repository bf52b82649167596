package portal

import (
	"encoding/json"
	"net/http"
)

// Protect puts a handler behind the same door as the admin API.
func (a *Admin) Protect(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := a.guard.Check(r); err != nil {
			if err.Code == CodeUnauthorized {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			w.WriteHeader(err.Status)
			_ = json.NewEncoder(w).Encode(map[string]*Error{"error": err})
			return
		}
		h.ServeHTTP(w, r)
	})
}
