// Package openapi holds the OpenAPI 3.1 description of what Ringfence serves to
// others: the hook API for switches and the public API for customers. It is
// written by hand in openapi.yaml; the tests of both APIs validate their answers
// against it with package openapitest, so that it says what is the case.
package openapi
