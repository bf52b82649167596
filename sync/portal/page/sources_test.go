package page

import (
	"os"
	"strings"
	"testing"
)

// sources is the package's code, tests left out.
func sources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, file := range goFiles(t, ".") {
		all.WriteString(source(t, file))
	}
	return all.String()
}

func source(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
