package hook

// The bodies that switches send are short objects of plain strings, and reading
// them by reflection costs more than deciding on them. These readers take just
// that: known names in lower case, strings of printable ASCII without escapes,
// stamps in digits. Of anything else they say so, and encoding/json reads it;
// what they take they take as it does (FuzzPlain).

// plainObject goes through the fields of a plain object. Raw is a string with its
// quotes, or a number. It reports false where the body is anything else, or take
// refuses a field.
func plainObject(body []byte, take func(name, raw []byte) bool) bool {
	i := skipSpace(body, 0)
	if i == len(body) || body[i] != '{' {
		return false
	}
	for {
		i = skipSpace(body, i+1)
		end := plainString(body, i)
		if end < 0 {
			return false
		}
		name := body[i+1 : end-1]
		if i = skipSpace(body, end); i == len(body) || body[i] != ':' {
			return false
		}
		i = skipSpace(body, i+1)
		if end = plainString(body, i); end < 0 {
			if end = plainNumber(body, i); end < 0 {
				return false
			}
		}
		if !take(name, body[i:end]) {
			return false
		}
		if i = skipSpace(body, end); i == len(body) {
			return false
		}
		switch body[i] {
		case ',':
		case '}':
			return skipSpace(body, i+1) == len(body)
		default:
			return false
		}
	}
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n') {
		i++
	}
	return i
}

// plainString gives the end of the string that begins at i; -1 where there is
// none, or not a plain one.
func plainString(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	for i++; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c < ' ' || c > '~' || c == '\\':
			return -1
		}
	}
	return -1
}

// plainNumber gives the end of the number that begins at i, of digits with at
// most one point among them; -1 where there is none, or not a plain one.
func plainNumber(b []byte, i int) int {
	start, point := i, false
	for ; i < len(b); i++ {
		if c := b[i]; c == '.' && !point && i > start {
			point = true
		} else if c < '0' || c > '9' {
			break
		}
	}
	if i == start || b[i-1] == '.' || (b[start] == '0' && i > start+1 && b[start+1] != '.') {
		return -1
	}
	return i
}

// unquoted is a plain string's text.
func unquoted(raw []byte) string { return string(raw[1 : len(raw)-1]) }

// plain reads a plain body into b, which is empty, or reports false and leaves b
// in any state. It keeps the caller's number in from.
func (b *authorizeBody) plain(body []byte, from *string) bool {
	return plainObject(body, func(name, raw []byte) bool {
		if raw[0] != '"' && string(name) != "at" {
			return false
		}
		switch string(name) {
		case "call_id":
			b.CallID = unquoted(raw)
		case "direction":
			b.Direction = directionName(raw[1 : len(raw)-1])
		case "from":
			*from = unquoted(raw)
			b.From = from
		case "to":
			b.To = unquoted(raw)
		case "account":
			b.Account = unquoted(raw)
		case "mode":
			b.Mode = unquoted(raw)
		case "switch":
			b.Switch = unquoted(raw)
		case "at":
			return b.At.UnmarshalJSON(raw) == nil
		default:
			return false
		}
		return true
	})
}

// plain is the same for events.
func (b *eventBody) plain(body []byte) bool {
	return plainObject(body, func(name, raw []byte) bool {
		text := raw[0] == '"'
		switch string(name) {
		case "at":
			return b.At.UnmarshalJSON(raw) == nil
		case "answered_at":
			return b.AnsweredAt.UnmarshalJSON(raw) == nil
		case "ended_at":
			return b.EndedAt.UnmarshalJSON(raw) == nil
		case "cause":
			if text {
				b.Cause = cause{text: unquoted(raw)}
				return true
			}
			return b.Cause.UnmarshalJSON(raw) == nil
		}
		if !text {
			return false
		}
		switch string(name) {
		case "type":
			b.Type = unquoted(raw)
		case "call_id":
			b.CallID = unquoted(raw)
		case "switch":
			b.Switch = unquoted(raw)
		case "account":
			b.Account = unquoted(raw)
		case "direction":
			b.Direction = directionName(raw[1 : len(raw)-1])
		case "from":
			b.From = unquoted(raw)
		case "to":
			b.To = unquoted(raw)
		default:
			return false
		}
		return true
	})
}

// directionName is a direction's name without a copy of it.
func directionName(b []byte) string {
	switch string(b) {
	case "inbound":
		return "inbound"
	case "outbound":
		return "outbound"
	}
	return string(b)
}
