package account_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hmsovereign/ringfence/authz"
)

type usageAnswer struct {
	Usage []struct {
		ID       string
		Duration int64  `json:"duration_sec"`
		Created  string `json:"created_at"`
		NumberID string `json:"number_id"`
		Status   string
		Minutes  float64
		Cost     float64
	}
	Summary struct {
		Seconds int64   `json:"total_seconds"`
		Minutes float64 `json:"total_minutes"`
		Cost    float64 `json:"total_cost"`
		Calls   int64   `json:"total_calls"`
		From    string
		To      string
	}
	Pagination struct{ Total, Limit, Offset int }
}

func TestUsagePages(t *testing.T) {
	onLedgers(t, func(t *testing.T, r *rig) {
		key := r.open(t, "org-1", "UTC", 100)
		r.open(t, "org-2", "UTC", 100)
		r.ingest(t, used("org-2", today, 999))
		var newest []string
		for i := range 5 {
			c := used("org-1", today.Add(-time.Duration(i)*time.Hour), int64(10*(i+1)))
			if i == 1 {
				c.State = authz.StateLost
				c.ExtraUnits, c.ExtraMicros = 6_000, 7_000
			}
			r.ingest(t, c)
			newest = append(newest, c.UID.String())
		}
		r.ingest(t, free(used("org-1", today, 0), authz.StateRejected, "insufficient_credits"))

		var ids []string
		for offset := 0; offset < 6; offset += 2 {
			var got usageAnswer
			r.get(t, key, fmt.Sprintf("usage?limit=2&offset=%d", offset)).into(t, &got)
			if got.Summary.Seconds != 150 || got.Summary.Calls != 5 || got.Summary.Cost != 0.18 || got.Pagination.Total != 5 || got.Pagination.Offset != offset {
				t.Errorf("page at %d: %+v %+v", offset, got.Summary, got.Pagination)
			}
			for _, row := range got.Usage {
				ids = append(ids, row.ID)
			}
			if offset == 0 && (got.Usage[1].Status != "lost" || got.Usage[1].Cost != 0.030334 || got.Usage[1].Minutes != 0.433333) {
				t.Errorf("the lost call: %+v", got.Usage[1])
			}
		}
		if !slices.Equal(ids, newest) {
			t.Errorf("pages have %v, want %v", ids, newest)
		}
		var got usageAnswer
		r.get(t, key, "usage").into(t, &got)
		if got.Pagination.Limit != 100 || got.Summary.From != "2025-12-01T00:00:00.000Z" || got.Summary.To != "2025-12-31T23:59:59.999Z" {
			t.Errorf("by default: %+v %+v", got.Pagination, got.Summary)
		}
	})
}

// Both ends count, days are the account's own, and times are exact to the millisecond.
func TestUsageRanges(t *testing.T) {
	onLedgers(t, func(t *testing.T, r *rig) {
		key := r.open(t, "org-1", "Europe/Amsterdam", 100)
		ends := []string{"2025-10-25T21:59:59.999Z", "2025-10-25T22:00:00.000Z", "2025-10-26T22:59:59.999Z", "2025-10-26T23:00:00.000Z", "2025-12-13T10:00:00.000Z"}
		for _, end := range ends {
			at, err := time.Parse(time.RFC3339, end)
			must(t, err)
			r.ingest(t, used("org-1", at, 1))
		}
		for _, c := range []struct {
			query string
			want  []string // oldest first
		}{
			{"start_date=2025-10-26&end_date=2025-10-26", ends[1:3]}, // a day of 25 hours
			{"start_date=2025-10-25&end_date=2025-10-25", ends[:1]},
			{"start_date=2025-10-01&end_date=2025-10-31", ends[:4]},
			{"end_date=2025-10-31", ends[:4]},
			{"start_date=2025-10-26", ends[1:]},
			{"start_date=2026-10-26", nil},
			{"", ends[4:]},
			{"start_date=2025-12-13T10:00:00Z&end_date=2025-12-13T10:00:00Z", ends[4:]},
			{"start_date=2025-12-13T10:00:00.0001Z&end_date=2025-12-13", nil},
			{"start_date=2025-12-13T11:00&end_date=2025-12-13T11:00:00", ends[4:]}, // in the account's zone
			{"start_date=2025-12-13T11:00:00%2B01:00&end_date=2025-12-13T11:00:00%2B0100", ends[4:]},
			{"start_date=2025-12-13T11:00:00+01:00&end_date=2025-12-13t10:00:00,5z", ends[4:]}, // an unescaped plus
			{"start_date=2025-12-13T09:59:59.999Z&end_date=2025-12-13T09:59:59.999Z", nil},
			{"start_date=1999-01-01&end_date=9999-12-31", ends},
			{"start_date=2025-12-13T23:00&end_date=2025-12-13", nil},
		} {
			var got usageAnswer
			r.get(t, key, "usage?"+c.query).into(t, &got)
			var times []string
			for _, row := range slices.Backward(got.Usage) {
				times = append(times, row.Created)
			}
			if d := cmp.Diff(c.want, times); d != "" || got.Summary.Calls != int64(len(c.want)) {
				t.Errorf("%s: %d calls (-want +got):\n%s", c.query, got.Summary.Calls, d)
			}
		}
	})
}

// Every mistake has its own error, which names the parameter.
func TestBadParameters(t *testing.T) {
	onLedgers(t, func(t *testing.T, r *rig) {
		key := r.open(t, "org-1", "UTC", 10)
		for _, c := range []struct{ path, param, says string }{
			{"usage?start_date=2025-02-30", "start_date", "2025-02-30 is not a day of the calendar"},
			{"usage?start_date=2025-13-01", "start_date", "not a day of the calendar"},
			{"usage?end_date=2025-00-10", "end_date", "not a day of the calendar"},
			{"usage?end_date=2023-02-29", "end_date", "not a day of the calendar"},
			{"usage?start_date=2025-02-30T10:00:00Z", "start_date", "not a day of the calendar"},
			{"usage?start_date=2025-12-01T25:00:00Z", "start_date", "not a time of day"},
			{"usage?start_date=2025-12-01T10:60", "start_date", "not a time of day"},
			{"usage?start_date=2025-12-01T10:00:00%2B99:00", "start_date", "offset"},
			{"usage?start_date=yesterday", "start_date", "must be a date"},
			{"usage?start_date=", "start_date", "must be a date"},
			{"usage?start_date=12/01/2025", "start_date", "must be a date"},
			{"usage?start_date=2025-1-1", "start_date", "must be a date"},
			{"usage?start_date=1764547200", "start_date", "must be a date"},
			{"usage?end_date=2025-12-01'%3B%20DROP%20TABLE%20calls%3B--", "end_date", "must be a date"},
			{"usage?start_date=%ff%00", "start_date", "must be a date"},
			{"usage?start_date=2025-12-31&end_date=2025-12-01", "end_date", "is before start_date 2025-12-31"},
			{"usage?start_date=2025-12-01T10:00:00.001Z&end_date=2025-12-01T10:00:00.000Z", "end_date", "is before start_date"},
			{"usage?limit=0", "limit", "from 1 to 1000"},
			{"usage?limit=1001", "limit", "from 1 to 1000"},
			{"usage?limit=-1", "limit", "from 1 to 1000"},
			{"usage?limit=%2B5", "limit", "from 1 to 1000"},
			{"usage?limit=1e3", "limit", "from 1 to 1000"},
			{"usage?limit=", "limit", "from 1 to 1000"},
			{"usage?limit=99999999999999999999", "limit", "from 1 to 1000"},
			{"usage?offset=-1", "offset", "from 0"},
			{"usage?offset=x", "offset", "from 0"},
			{"usage?page=2", "page", "is not a parameter"},
			{"usage?limit=1&limit=2", "limit", "is given 2 times"},
			{"usage?%27%3B%20DROP%20TABLE%20calls%3B--=1", "'; DROP TABLE calls;--", "is not a parameter"},
			{"calls?limit=0", "limit", "from 1 to 1000"},
			{"calls?limit=1001", "limit", "from 1 to 1000"},
			{"calls?status=dead", "status", "must be one of connecting, in-progress, ended, failed, rejected, lost"},
			{"calls?status=", "status", "must be one of"},
			{"calls?start_date=2025-12-01", "start_date", "is not a parameter"},
			{"statement?format=xml", "format", "must be one of json, csv"},
			{"statement?limit=5", "limit", "is not a parameter"},
			{"statement?end_date=2025-12-32", "end_date", "not a day of the calendar"},
			{"account?verbose=1", "verbose", "is not a parameter"},
			{"openapi.json?v=1", "v", "is not a parameter"},
			{"usage?a=%zz", "", "cannot be read"},
			{"usage?a;b", "", "cannot be read"},
		} {
			answer := r.get(t, key, c.path)
			answer.refused(t, c.path, 400, "invalid_request", c.param)
			if !strings.Contains(answer.body, c.says) {
				t.Errorf("%s does not say %q: %s", c.path, c.says, answer.body)
			}
		}
	})
}
