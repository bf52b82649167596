package stripefaketest

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/stripe/stripe-mock/embedded"
	"github.com/stripe/stripe-mock/server"
)

// mock is Stripe's own checker, with the OpenAPI document that it was published with. Reading that takes about a
// second, once in a test binary.
var mock = sync.OnceValues(func() (http.Handler, error) {
	document, err := server.LoadSpec(embedded.OpenAPISpec, "")
	if err != nil {
		return nil, fmt.Errorf("stripefaketest: read Stripe's OpenAPI document: %w", err)
	}
	fixtures, err := server.LoadFixtures(embedded.OpenAPIFixtures, "")
	if err != nil {
		return nil, fmt.Errorf("stripefaketest: read stripe-mock's fixtures: %w", err)
	}
	stub, err := server.NewStubServer(fixtures, document, false, false)
	if err != nil {
		return nil, fmt.Errorf("stripefaketest: make stripe-mock: %w", err)
	}
	return http.HandlerFunc(stub.HandleRequest), nil
})
