package hook

import (
	"net/http"

	"github.com/hmsovereign/ringfence/authz"
)

// Codes of answers that are no decision on a call.
const (
	codeUnauthorized authz.Code = "unauthorized"
	codeNotFound     authz.Code = "not_found"
	codeMethod       authz.Code = "method_not_allowed"
)

// problem is a request refused for its form, before anybody decided on it.
type problem struct {
	status  int
	code    authz.Code
	param   string
	message string
	reason  string // label of the decode error metric
}

// The decode errors that are counted.
const (
	reasonBody    = "body"
	reasonLarge   = "too_large"
	reasonUTF8    = "utf8"
	reasonJSON    = "json"
	reasonType    = "type"
	reasonMissing = "missing"
	reasonValue   = "value"
)

var tooLarge = &problem{http.StatusRequestEntityTooLarge, authz.CodeInvalidRequest, "", "The body is larger than 64 KiB.", reasonLarge}

func invalid(reason, param, message string) *problem {
	return &problem{http.StatusBadRequest, authz.CodeInvalidRequest, param, message, reason}
}

func missing(param string) *problem {
	return &problem{http.StatusBadRequest, authz.CodeMissingField, param, param + " is missing.", reasonMissing}
}

// badValue's message continues a sentence that begins with the field's name.
func badValue(param, message string) *problem {
	return invalid(reasonValue, param, param+" "+message)
}
