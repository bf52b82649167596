// Package openapitest validates recorded exchanges against the OpenAPI document
// of package openapi, for the tests of whatever it describes.
//
// It is stricter than the document, which lets answers grow: an answer with a
// field, status or header value that the document does not have is an error, and
// so is a request that succeeds although the document forbids it.
//
// # How far kin-openapi knows OpenAPI 3.1
//
// openapi3filter validates bodies, parameters and headers of a 3.1 document by
// JSON Schema 2020-12 (santhosh-tekuri/jsonschema). But a schema that refers to
// a component, and in all that it reaches uses no keyword that is new in 3.1, goes
// to the built-in validator for 3.0 after all, silently. So that one and the same
// rules hold everywhere, every object is given the keyword unevaluatedProperties
// here: false in answers, true in requests. The `format` keyword is checked for
// the formats known to the built-in validator only (not uuid): the document has
// patterns instead. Webhooks are read and not validated.
package openapitest
