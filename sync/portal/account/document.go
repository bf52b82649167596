package account

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
)

// document answers with the OpenAPI document, which anybody may read, pages of
// other sites among them.
func document(read func() ([]byte, error), contentType string) resource {
	return func(w http.ResponseWriter, r *http.Request, _ Caller) *Error {
		if q := readParams(r); q.err != nil {
			return q.err
		}
		b, err := read()
		if err != nil {
			return storeError(err)
		}
		sum := sha256.Sum256(b)
		tag := `"` + hex.EncodeToString(sum[:8]) + `"`
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cache-Control", "public, max-age=300")
		h.Set("ETag", tag)
		if strings.Contains(r.Header.Get("If-None-Match"), tag) {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
		h.Set("Content-Type", contentType)
		h.Set("Content-Length", strconv.Itoa(len(b)))
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write(b) // a client that is gone needs no answer
		return nil
	}
}
