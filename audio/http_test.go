package audio_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/audio"
	"github.com/hmsovereign/ringfence/audio/audiotest"
)

func get(t *testing.T, srv *httptest.Server, method, path string, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, srv.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, body
}

func TestHandler(t *testing.T) {
	dir := t.TempDir()
	audiotest.WriteWAV(t, filepath.Join(dir, "accounts/acme/low_credit.nl.wav"), audiotest.Sweep(8000, time.Second), 8000)
	l := load(t, audio.Options{Dir: dir})
	srv := httptest.NewServer(audio.Handler(l))
	defer srv.Close()
	clip, _ := l.Exact(audio.InsufficientCredits, "", "nl")

	for encoding, contentType := range map[audio.Encoding]string{
		audio.WAV: "audio/wav", audio.ULaw: "audio/basic", audio.ALaw: "audio/x-alaw-basic",
		audio.SLn: "application/octet-stream", audio.SLn16: "application/octet-stream",
	} {
		path := "/v1/audio/insufficient_credits.nl." + string(encoding)
		want := clip.Bytes(encoding)
		res, body := get(t, srv, "GET", path)
		if res.StatusCode != 200 || !bytes.Equal(body, want) {
			t.Errorf("%s: %s, %d bytes; want 200 and %d bytes", path, res.Status, len(body), len(want))
		}
		if got := res.Header.Get("Content-Type"); got != contentType {
			t.Errorf("%s is served as %q, want %q", path, got, contentType)
		}
		if got := res.Header.Get("Content-Language"); got != "nl" {
			t.Errorf("%s: Content-Language %q", path, got)
		}
		etag := res.Header.Get("ETag")
		if etag == "" || etag != clip.ETag(encoding) {
			t.Errorf("%s: ETag %q, want %q", path, etag, clip.ETag(encoding))
		}
		if res, body := get(t, srv, "GET", path, "If-None-Match", etag); res.StatusCode != 304 || len(body) != 0 {
			t.Errorf("%s with its ETag: %s, %d bytes; want 304", path, res.Status, len(body))
		}
		if res, body := get(t, srv, "HEAD", path); res.StatusCode != 200 || len(body) != 0 || res.ContentLength != int64(len(want)) {
			t.Errorf("HEAD %s: %s, length %d; want %d", path, res.Status, res.ContentLength, len(want))
		}
		res, body = get(t, srv, "GET", path, "Range", "bytes=100-199")
		if res.StatusCode != 206 || !bytes.Equal(body, want[100:200]) {
			t.Errorf("%s, a range: %s, %d bytes", path, res.Status, len(body))
		}
		res, body = get(t, srv, "GET", path, "Range", "bytes=100-199", "If-Range", `"other"`)
		if res.StatusCode != 200 || len(body) != len(want) {
			t.Errorf("%s, a range of something older: %s, %d bytes; want all of it", path, res.Status, len(body))
		}
	}

	// An account may have a language that nobody has recorded.
	for tag, want := range map[string]string{"ja": "en", "nl-BE": "nl"} {
		chosen, _ := l.Exact(audio.LowCredit, "", want)
		res, body := get(t, srv, "GET", "/v1/audio/low_credit."+tag+".wav")
		if res.StatusCode != 200 || !bytes.Equal(body, chosen.Bytes(audio.WAV)) || res.Header.Get("Content-Language") != want {
			t.Errorf("asked for %s: %s in %q, want %s", tag, res.Status, res.Header.Get("Content-Language"), want)
		}
	}

	own, _ := l.Exact(audio.LowCredit, "acme", "nl")
	if _, body := get(t, srv, "GET", "/v1/audio/low_credit.nl.wav?account=acme"); !bytes.Equal(body, own.Bytes(audio.WAV)) {
		t.Error("the account's own recording is not served")
	}
	if _, body := get(t, srv, "GET", "/v1/audio/low_credit.nl.wav?account=other"); bytes.Equal(body, own.Bytes(audio.WAV)) {
		t.Error("another account gets it too")
	}
}

func TestHandlerRefuses(t *testing.T) {
	srv := httptest.NewServer(audio.Handler(load(t, audio.Options{})))
	defer srv.Close()
	for _, tc := range []struct {
		method, path string
		status       int
		code, says   string
	}{
		{"GET", "/v1/audio/", 404, "not_found", "{prompt}.{language}.{encoding}"},
		{"GET", "/v1/audio/insufficient_credits", 404, "not_found", "Name a recording as"},
		{"GET", "/v1/audio/insufficient_credits.nl", 404, "not_found", "Name a recording as"},
		{"GET", "/v1/audio/insufficient_credits.nl.mp3", 404, "not_found", `No encoding "mp3"`},
		{"GET", "/v1/audio/nothing.nl.wav", 404, "not_found", `No prompt "nothing"`},
		{"GET", "/v1/audio/insufficient_credits.%2e%2e.wav", 404, "not_found", "No encoding"},
		{"GET", "/v1/audio/insufficient_credits.%22.wav", 404, "not_found", "there are de, en, es, fr, it, nl."},
		{"POST", "/v1/audio/insufficient_credits.nl.wav", 405, "invalid_request", "only be read"},
	} {
		res, body := get(t, srv, tc.method, tc.path)
		var got struct {
			Error struct{ Code, Message string } `json:"error"`
		}
		if err := json.Unmarshal(body, &got); err != nil {
			t.Errorf("%s %s: %v in %q", tc.method, tc.path, err, body)
			continue
		}
		if res.StatusCode != tc.status || got.Error.Code != tc.code || !strings.Contains(got.Error.Message, tc.says) {
			t.Errorf("%s %s: %s %+v; want %d %s with %q", tc.method, tc.path, res.Status, got.Error, tc.status, tc.code, tc.says)
		}
		if ct := res.Header.Get("Content-Type"); ct != "application/json" {
			t.Errorf("%s %s: the error is %q", tc.method, tc.path, ct)
		}
	}
}
