package account

import (
	"io"
	"net/http"
	"time"
)

// statusClientGone is counted where the client left before its answer (as nginx does).
const statusClientGone = 499

// recorder remembers an answer's status.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// abandon breaks an answer off that cannot be finished, so that its client does
// not take what it has for the whole: nothing more can be written, not even the
// end of the body.
func abandon(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0))
}

func discard(r io.Reader) (int64, error) { return io.Copy(io.Discard, r) }
