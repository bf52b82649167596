package account

import (
	"mime"
	"strconv"
	"strings"
)

// prefersCSV tells whether an Accept header wants text/csv rather than JSON
// (RFC 9110 12.5.1). Without a word on either it is JSON.
func prefersCSV(accept []string) bool {
	var csv, json float64
	named := false
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		media, options, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil {
			continue
		}
		q := 1.0
		if given, ok := options["q"]; ok {
			if q, err = strconv.ParseFloat(given, 64); err != nil {
				continue
			}
		}
		switch media {
		case "text/csv":
			csv, named = max(csv, q), true
		case "text/*":
			csv = max(csv, q)
		case "application/json", "application/*":
			json = max(json, q)
		}
	}
	return named && csv > json
}
