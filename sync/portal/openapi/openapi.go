package openapi

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/knadh/koanf/parsers/yaml"
)

//go:embed openapi.yaml
var document []byte

// YAML gives the document as it was written. It must not be changed.
func YAML() ([]byte, error) { return document, nil }

// JSON gives the same document in JSON. It must not be changed.
func JSON() ([]byte, error) { return inJSON() }

var inJSON = sync.OnceValues(func() ([]byte, error) {
	tree, err := yaml.Parser().Unmarshal(document)
	if err != nil {
		return nil, fmt.Errorf("OpenAPI document: %w", err)
	}
	b, err := json.MarshalIndent(tree, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("OpenAPI document: %w", err)
	}
	return append(b, '\n'), nil
})
