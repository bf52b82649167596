package stripefake

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
)

// Through reaches a handler without a network, as tests in a synctest bubble must. As the transport of an http.Client
// it connects stripe-go to a Fake, or (Config.Webhooks) a Fake to who takes its webhooks. A connection that the fake
// breaks is an error.
func Through(handler http.Handler) http.RoundTripper { return through{handler} }

type through struct{ handler http.Handler }

var errBroken = errors.New("stripefake: connection broken")

// RoundTrip implements http.RoundTripper.
func (t through) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	if in.Body == nil {
		in.Body = http.NoBody
	}
	in.RequestURI = r.URL.RequestURI()
	w := &recorder{header: make(http.Header)}
	t.handler.ServeHTTP(w, in)
	if err := errors.Join(r.Context().Err(), in.Body.Close()); err != nil {
		return nil, err
	}
	if w.broken {
		return nil, errBroken
	}
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

// recorder takes an answer.
type recorder struct {
	header http.Header
	body   bytes.Buffer
	status int
	broken bool
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// Hijack implements http.Hijacker, for breakOff alone.
func (w *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.broken = true
	client, server := net.Pipe()
	return server, nil, client.Close()
}
