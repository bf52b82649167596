package openapi_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"go.uber.org/goleak"

	"github.com/hmsovereign/ringfence/sync/portal/openapi"
	"github.com/hmsovereign/ringfence/sync/portal/openapi/openapitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDocumentIsValid(t *testing.T) { openapitest.New(t) }

// Both forms are the same document.
func TestJSONIsTheYAML(t *testing.T) {
	written, err := openapi.YAML()
	must(t, err)
	converted, err := openapi.JSON()
	must(t, err)
	if !strings.HasPrefix(string(written), "openapi: 3.1.1\n") || !json.Valid(converted) {
		t.Fatal("not an OpenAPI 3.1 document in YAML, or not JSON")
	}
	var normal []string
	for _, text := range [][]byte{written, converted} {
		doc, err := openapi3.NewLoader().LoadFromData(text)
		must(t, err)
		b, err := doc.MarshalJSON()
		must(t, err)
		normal = append(normal, string(b))
	}
	if normal[0] != normal[1] {
		t.Error("the JSON form says something else than the YAML form")
	}
}

// Every operation is described as the house describes things, and every public one bears the rate limit's headers.
func TestEveryOperationIsDescribed(t *testing.T) {
	text, err := openapi.YAML()
	must(t, err)
	doc, err := openapi3.NewLoader().LoadFromData(text)
	must(t, err)
	var paths []string
	for path, item := range doc.Paths.Map() {
		paths = append(paths, path)
		for method, op := range item.Operations() {
			if op.Summary == "" || op.OperationID == "" || len(op.Tags) == 0 {
				t.Errorf("%s %s has no summary, operationId or tag", method, path)
			}
			for status, answer := range op.Responses.Map() {
				if strings.HasPrefix(path, "/api/") && status != "304" && answer.Value.Headers["X-RateLimit-Reset"] == nil {
					t.Errorf("%s %s %s has no rate limit headers", method, path, status)
				}
			}
		}
	}
	slices.Sort(paths)
	if got, want := strings.Join(paths, " "), "/api/v1/account /api/v1/billing /api/v1/billing/card /api/v1/calls /api/v1/checkout /api/v1/checkout/quote "+
		"/api/v1/invoices /api/v1/invoices/{id} /api/v1/invoices/{id}/pdf /api/v1/openapi.json /api/v1/openapi.yaml "+
		"/api/v1/statement /api/v1/top-up /api/v1/usage /stripe/webhook /v1/audio/{file} /v1/authorize /v1/events /v1/quote"; got != want {
		t.Errorf("paths are %s\nwant %s", got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
