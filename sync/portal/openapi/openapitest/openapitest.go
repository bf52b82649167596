package openapitest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/hmsovereign/ringfence/sync/portal/openapi"
)

// Validator holds the document, ready to be compared with exchanges. It may be
// used by several tests at once.
type Validator struct {
	doc    *openapi3.T
	router routers.Router

	mu   sync.Mutex
	seen map[string]bool // "operationId status"
}

// New reads the document, which must be a valid one, its examples included.
func New(t testing.TB) *Validator {
	t.Helper()
	v, err := load()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func load() (*Validator, error) {
	text, err := openapi.YAML()
	if err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	if err := doc.Validate(context.Background(), openapi3.EnableExamplesValidation()); err != nil {
		return nil, fmt.Errorf("the document is not valid: %w", err)
	}
	// Tests serve it under addresses of their own.
	doc.Servers = nil
	for _, path := range doc.Paths.Map() {
		path.Servers = nil
	}
	if err := tighten(doc); err != nil {
		return nil, err
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		return nil, fmt.Errorf("route the document: %w", err)
	}
	return &Validator{doc: doc, router: router, seen: make(map[string]bool)}, nil
}

// tighten closes the schemas of answers, and marks those of requests as of 3.1.
func tighten(doc *openapi3.T) error {
	mark := func(open bool) func(string, *openapi3.SchemaRef) error {
		return func(_ string, ref *openapi3.SchemaRef) error {
			s := ref.Value
			// A branch without a type of its own only adds conditions to the object around it,
			// and an object without properties is any object.
			if s == nil || !s.Type.Includes(openapi3.TypeObject) || !open && len(s.Properties) == 0 {
				return nil
			}
			s.UnevaluatedProperties = openapi3.BoolSchema{Has: &open}
			return nil
		}
	}
	for _, path := range doc.Paths.Map() {
		for _, op := range path.Operations() {
			if op.RequestBody != nil {
				if err := eachSchema(op.RequestBody.Value.Content, mark(true)); err != nil {
					return err
				}
			}
			for _, answer := range op.Responses.Map() {
				if err := eachSchema(answer.Value.Content, mark(false)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func eachSchema(content openapi3.Content, fn func(string, *openapi3.SchemaRef) error) error {
	for _, media := range content {
		if media.Schema != nil {
			if err := media.Schema.WalkSubtree(fn); err != nil {
				return err
			}
		}
	}
	return nil
}

// Exchange is one request and its answer.
type Exchange struct {
	Method, URL string
	Header      http.Header
	Body        []byte

	Status       int
	AnswerHeader http.Header
	Answer       []byte
}

// Check compares an exchange with the document. The answer must be one that the
// document has; the request may break it only if the answer says so (400 and
// above).
func (v *Validator) Check(x Exchange) error {
	req, err := http.NewRequest(x.Method, x.URL, bytes.NewReader(x.Body))
	if err != nil {
		return fmt.Errorf("%s %s: %w", x.Method, x.URL, err)
	}
	req.Header = x.Header.Clone()
	what := fmt.Sprintf("%s %s answered %d", x.Method, req.URL.Path, x.Status)
	if x.Method == http.MethodHead {
		req.Method = http.MethodGet
	}
	route, params, err := v.router.FindRoute(req)
	if errors.Is(err, routers.ErrPathNotFound) || errors.Is(err, routers.ErrMethodNotAllowed) {
		return v.elsewhere(what, &x)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	in := &openapi3filter.RequestValidationInput{Request: req, Route: route, PathParams: params, Options: &openapi3filter.Options{
		IncludeResponseStatus: true, MultiError: true, SkipSettingDefaults: true,
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}}
	if x.Status < http.StatusBadRequest {
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			return fmt.Errorf("%s, though the document forbids the request: %w", what, err)
		}
		if err := onlyKnown(req, route); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	if x.Method != http.MethodHead {
		out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: x.Status, Header: x.AnswerHeader, Options: in.Options}
		out.SetBodyBytes(x.Answer)
		if err := openapi3filter.ValidateResponse(context.Background(), out); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seen[fmt.Sprintf("%s %d", route.Operation.OperationID, x.Status)] = true
	return nil
}

// onlyKnown finds query parameters that the document does not have.
func onlyKnown(req *http.Request, route *routers.Route) error {
	for name := range req.URL.Query() {
		if route.Operation.Parameters.GetByInAndName(openapi3.ParameterInQuery, name) == nil {
			return fmt.Errorf("the document has no parameter %q", name)
		}
	}
	return nil
}

// elsewhere checks an answer where the document has nothing: an error in one of its two envelopes.
func (v *Validator) elsewhere(what string, x *Exchange) error {
	if x.Status != http.StatusNotFound && x.Status != http.StatusMethodNotAllowed && x.Status < http.StatusTooManyRequests {
		return fmt.Errorf("%s, where the document has nothing", what)
	}
	if x.Method == http.MethodHead {
		return nil
	}
	var errs []error
	for _, name := range []string{"BadRequest", "HookError"} {
		op := openapi3.NewOperation()
		op.Responses = openapi3.NewResponses()
		op.Responses.Set("default", v.doc.Components.Responses[name])
		req, err := http.NewRequest(http.MethodGet, "/", nil)
		if err != nil {
			return err
		}
		out := &openapi3filter.ResponseValidationInput{Status: x.Status, Header: x.AnswerHeader,
			RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, Route: &routers.Route{Spec: v.doc, Operation: op}}}
		out.SetBodyBytes(x.Answer)
		if err = openapi3filter.ValidateResponse(context.Background(), out); err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("%s: %w", what, errors.Join(errs...))
}

// Seen lists the operations and statuses of the document that were checked, as
// "getAccount 200", and those that were not.
func (v *Validator) Seen() (seen, missing []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, path := range v.doc.Paths.Map() {
		for _, op := range path.Operations() {
			for status := range op.Responses.Map() {
				name := op.OperationID + " " + status
				if v.seen[name] {
					seen = append(seen, name)
				} else {
					missing = append(missing, name)
				}
			}
		}
	}
	slices.Sort(seen)
	slices.Sort(missing)
	return seen, missing
}

// Transport passes requests on to next and checks every exchange; one that does
// not fit fails the test. It reads answers whole.
func (v *Validator) Transport(t testing.TB, next http.RoundTripper) http.RoundTripper {
	return &transport{t: t, v: v, next: next}
}

type transport struct {
	t    testing.TB
	v    *Validator
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (c *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	x := Exchange{Method: req.Method, URL: req.URL.String(), Header: req.Header.Clone()}
	if req.Body != nil && req.Body != http.NoBody {
		body, err := io.ReadAll(req.Body)
		if err = errors.Join(err, req.Body.Close()); err != nil {
			return nil, err
		}
		x.Body = body
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	resp, err := c.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(resp.Body)
	if closing := resp.Body.Close(); err == nil {
		err = closing
	}
	if err != nil {
		// Whoever reads it is told, as without this transport.
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(answer), failing{err}))
		return resp, nil
	}
	resp.Body = io.NopCloser(bytes.NewReader(answer))
	x.Status, x.AnswerHeader, x.Answer = resp.StatusCode, resp.Header, answer
	if err := c.v.Check(x); err != nil {
		c.t.Errorf("%v\nthe answer was: %.2000s", err, answer)
	}
	return resp, nil
}

// failing is a body that breaks off.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
