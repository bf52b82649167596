package audio

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// PathPrefix is where [Handler] expects to be mounted.
const PathPrefix = "/v1/audio/"

// cacheControl lets a switch keep a prompt for a while; the entity tag makes
// asking again cheap.
const cacheControl = "public, max-age=300"

// Handler serves GET and HEAD of
//
//	/v1/audio/{prompt}.{language}.{wav|ulaw|alaw|sln|sln16}[?account=ID]
//
// with entity tags, conditional and range requests (RFC 9110). With ?account=
// the account's own recording is preferred. Of a language without a recording
// [Library.Find] chooses another, which Content-Language names: whoever plays the
// file to a caller has no use for a 404. Errors are {"error":{"code","message"}}.
func Handler(l *Library) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			httpError(w, http.StatusMethodNotAllowed, "invalid_request", "Recordings can only be read.")
			return
		}
		clip, encoding, message := l.resolve(strings.TrimPrefix(r.URL.Path, PathPrefix), r.URL.Query().Get("account"))
		if clip == nil {
			httpError(w, http.StatusNotFound, "not_found", message)
			return
		}
		h := w.Header()
		h.Set("Content-Type", encoding.ContentType())
		h.Set("Content-Language", clip.Language)
		h.Set("Cache-Control", cacheControl)
		h.Set("ETag", clip.ETag(encoding))
		h.Set("X-Content-Type-Options", "nosniff")
		// No modification time: the entity tag says more, and says the same
		// on every sidecar.
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(clip.Bytes(encoding)))
	})
}

// resolve finds what a file name asks for, or says why there is no such thing.
func (l *Library) resolve(name, account string) (*Clip, Encoding, string) {
	prompt, rest, _ := strings.Cut(name, ".")
	tag, extension, ok := strings.Cut(rest, ".")
	if !ok {
		return nil, "", "Name a recording as {prompt}.{language}.{encoding}, for example insufficient_credits.en.wav."
	}
	encoding := Encoding(extension)
	if !slices.Contains(encodings, encoding) {
		return nil, "", fmt.Sprintf("No encoding %q. There are wav, ulaw, alaw, sln and sln16.", extension)
	}
	if !Prompt(prompt).Known() {
		return nil, "", fmt.Sprintf("No prompt %q. There are %s.", prompt, joinPrompts())
	}
	language, ok := NormalizeLanguage(tag)
	if !ok {
		return nil, "", fmt.Sprintf("%q is no language. Of %s there are %s.", tag, prompt, strings.Join(l.Languages(Prompt(prompt)), ", "))
	}
	clip, ok := l.Find(Prompt(prompt), account, language)
	if !ok {
		return nil, "", fmt.Sprintf("No recording of %s.", prompt)
	}
	return clip, encoding, ""
}

type errorBody struct {
	Error errorDetail `json:"error"`
}

type errorDetail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func httpError(w http.ResponseWriter, status int, code, message string) {
	body, err := json.Marshal(errorBody{errorDetail{code, message}})
	if err != nil {
		http.Error(w, message, status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone: nobody is left to tell
}
