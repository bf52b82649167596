package announce

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"github.com/hmsovereign/ringfence/audio"
)

// target is what a request URI asks for.
type target struct {
	prompt   audio.Prompt
	language string
	account  string
	mode     Mode
	final    final
}

// final is the reply of the denial.
type final struct {
	status int // SIP
	cause  int // Q.850
}

// finals are the replies that go with each prompt unless the URI says
// otherwise.
var finals = map[audio.Prompt]final{
	audio.InsufficientCredits: {402, 21},
	audio.LowCredit:           {480, 31},
	audio.ServiceUnavailable:  {503, 41},
	audio.NumberNotInService:  {404, 1},
	audio.TooManyCalls:        {486, 17},
}

// FinalReply is the final reply that ends the announcement of a prompt unless
// the URI says otherwise: the SIP status and the Q.850 cause. Both are 0 for an
// unknown prompt.
func FinalReply(p audio.Prompt) (status, cause int) { return finals[p].status, finals[p].cause }

// URI is the address to send a call to, so that its caller hears a prompt: host
// and port of the announcer, and, unless they are empty, the language and the
// account whose own recordings are preferred.
func URI(hostport string, p audio.Prompt, language, account string) string {
	uri := "sip:" + string(p) + "@" + hostport
	if language != "" {
		uri += ";lang=" + escape(language)
	}
	if account != "" {
		uri += ";account=" + escape(account)
	}
	return uri
}

// escape makes a URI parameter's value (RFC 3261, 25.1: pvalue) of anything.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// finalStatus lists the statuses a URI may ask for: those that end a call
// attempt and ask nothing of the caller. Redirections, authentication
// challenges and protocol errors would make a caller's phone do something else
// than give up. With each goes its phrase, and the Q.850 cause by RFC 3398,
// 8.2.6.1.
var finalStatus = map[int]struct {
	phrase string
	cause  int
}{
	402: {"Payment Required", 21},
	403: {"Forbidden", 21},
	404: {"Not Found", 1},
	410: {"Gone", 22},
	480: {"Temporarily Unavailable", 18},
	484: {"Address Incomplete", 28},
	486: {"Busy Here", 17},
	487: {"Request Terminated", 16},
	500: {"Server Internal Error", 41},
	503: {"Service Unavailable", 41},
	600: {"Busy Everywhere", 17},
	603: {"Decline", 21},
	604: {"Does Not Exist Anywhere", 1},
}

// causeText names the causes of ITU-T Q.850 that a refused call has.
var causeText = map[int]string{
	1: "Unallocated (unassigned) number", 2: "No route to specified transit network", 3: "No route to destination",
	16: "Normal call clearing", 17: "User busy", 18: "No user responding", 19: "No answer from user (user alerted)",
	20: "Subscriber absent", 21: "Call rejected", 22: "Number changed", 27: "Destination out of order",
	28: "Invalid number format (address incomplete)", 29: "Facility rejected", 31: "Normal, unspecified",
	34: "No circuit/channel available", 38: "Network out of order", 41: "Temporary failure",
	42: "Switching equipment congestion", 47: "Resource unavailable, unspecified",
	50: "Requested facility not subscribed", 57: "Bearer capability not authorized",
	63: "Service or option not available, unspecified", 102: "Recovery on timer expiry", 127: "Interworking, unspecified",
}

// reason is the value of the Reason header (RFC 3326).
func (f final) reason() string {
	v := fmt.Sprintf("Q.850;cause=%d", f.cause)
	if text, ok := causeText[f.cause]; ok {
		v += fmt.Sprintf(`;text="%s"`, text)
	}
	return v
}

func (f final) phrase() string { return finalStatus[f.status].phrase }

// maxParam bounds what is taken from a URI parameter.
const maxParam = 128

// parseTarget reads a request URI. It reports false when the user part is no
// prompt. Parameters that make no sense are ignored.
func parseTarget(uri *sip.Uri, mode Mode) (target, bool) {
	t := target{prompt: audio.Prompt(unescape(uri.User)), mode: mode}
	if !t.prompt.Known() {
		return target{}, false
	}
	t.final = finals[t.prompt]
	code, cause := 0, 0
	for _, p := range uri.UriParams {
		if len(p.V) > maxParam {
			continue
		}
		value := unescape(p.V)
		switch strings.ToLower(p.K) {
		case "lang":
			t.language, _ = audio.NormalizeLanguage(value)
		case "account":
			t.account = value
		case "mode":
			if m := Mode(strings.ToLower(value)); m == Early || m == Answer {
				t.mode = m
			}
		case "code":
			code, _ = strconv.Atoi(value) // 0 is no status
		case "cause":
			cause, _ = strconv.Atoi(value)
		}
	}
	if status, ok := finalStatus[code]; ok && code != t.final.status {
		t.final = final{status: code, cause: status.cause}
	}
	if 1 <= cause && cause <= 127 {
		t.final.cause = cause
	}
	return t, true
}

// unescape resolves %xx; what is no valid escape stays as it is and matches
// nothing.
func unescape(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}
