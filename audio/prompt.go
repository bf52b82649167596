package audio

import "slices"

// Prompt names what is said. The names are part of the interface: they appear
// in file names, URLs, SIP URIs and in the answers to a switch.
type Prompt string

// The prompts.
const (
	InsufficientCredits Prompt = "insufficient_credits"  // the account cannot pay for the call
	LowCredit           Prompt = "low_credit"            // mid-call warning: credit ends soon
	ServiceUnavailable  Prompt = "service_unavailable"   // balances cannot be read
	NumberNotInService  Prompt = "number_not_in_service" // nobody has that number
	TooManyCalls        Prompt = "too_many_calls"        // the account's limit of calls is reached
)

var prompts = []Prompt{InsufficientCredits, LowCredit, ServiceUnavailable, NumberNotInService, TooManyCalls}

// Prompts lists all prompts.
func Prompts() []Prompt { return slices.Clone(prompts) }

// Known reports whether p is one of the prompts.
func (p Prompt) Known() bool { return slices.Contains(prompts, p) }

// DefaultLanguage is the last resort of every choice; all its prompts are
// built in.
const DefaultLanguage = "en"

// NormalizeLanguage brings a language tag to the form of the file names: lower
// case with hyphens ("nl_BE" becomes "nl-be"). It reports false for what is no
// tag: RFC 5646 in outline, a language of two or three letters, then subtags.
func NormalizeLanguage(tag string) (string, bool) {
	if len(tag) < 2 || len(tag) > 35 {
		return "", false
	}
	out := make([]byte, len(tag))
	subtag, first := 0, true // length of the subtag so far; whether it is the language
	for i := range len(tag) {
		c := tag[i]
		switch {
		case c == '-' || c == '_':
			if subtag == 0 || first && subtag == 1 {
				return "", false
			}
			subtag, first = 0, false
			out[i] = '-'
			continue
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case 'a' <= c && c <= 'z':
		case '0' <= c && c <= '9' && !first:
		default:
			return "", false
		}
		subtag++
		if subtag > 8 || first && subtag > 3 {
			return "", false
		}
		out[i] = c
	}
	if subtag == 0 {
		return "", false
	}
	return string(out), true
}

// parentLanguage cuts the last subtag: "nl-be" to "nl", "nl" to "".
func parentLanguage(tag string) string {
	for i := len(tag) - 1; i >= 0; i-- {
		if tag[i] == '-' {
			return tag[:i]
		}
	}
	return ""
}
