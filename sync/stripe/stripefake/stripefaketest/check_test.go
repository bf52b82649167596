package stripefaketest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/hmsovereign/ringfence/sync/stripe/stripefake"
	"github.com/hmsovereign/ringfence/sync/stripe/stripefake/stripefaketest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// witness is a test that notes why it fails, and does not.
type witness struct {
	testing.TB
	mu    sync.Mutex
	found []string
}

func (w *witness) Errorf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.found = append(w.found, fmt.Sprintf(format, args...))
}

// TestDriftIsFound lets a fake drift, and looks whether that is seen.
func TestDriftIsFound(t *testing.T) {
	t.Parallel()
	const tax = `{"object":"tax_rate","id":"txr_1","percentage":21`
	for name, test := range map[string]struct {
		method, path, body string
		status             int
		answer             string
		found              string // "": nothing wrong
	}{
		"right":              {"POST", "/v1/tax_rates", "display_name=VAT&inclusive=false&percentage=21", 200, tax + "}", ""},
		"missing parameter":  {"POST", "/v1/tax_rates", "display_name=VAT&percentage=21", 200, tax + "}", "inclusive"},
		"unknown parameter":  {"POST", "/v1/tax_rates", "display_name=VAT&inclusive=false&percentage=21&colour=blue", 200, tax + "}", "colour"},
		"wrong type":         {"POST", "/v1/tax_rates", "display_name=VAT&inclusive=maybe&percentage=21", 200, tax + "}", "inclusive"},
		"unknown path":       {"GET", "/v1/unicorns", "", 200, `{"object":"list","data":[]}`, "Unrecognized request URL"},
		"refused by both":    {"POST", "/v1/tax_rates", "", 400, `{"error":{"type":"invalid_request_error","message":"no"}}`, ""},
		"unknown field":      {"GET", "/v1/tax_rates/txr_1", "", 200, tax + `,"colour":"blue"}`, "colour"},
		"field's type":       {"GET", "/v1/tax_rates/txr_1", "", 200, tax + `,"active":"yes"}`, "active"},
		"nested":             {"GET", "/v1/invoices/in_1", "", 200, `{"object":"invoice","issuer":{"kind":"self"}}`, "kind"},
		"in a list":          {"GET", "/v1/tax_rates", "", 200, `{"object":"list","data":[` + tax + `,"colour":1}]}`, "colour"},
		"in an event":        {"GET", "/v1/events/evt_1", "", 200, `{"object":"event","data":{"object":` + tax + `,"colour":1}}}`, "colour"},
		"in an error":        {"GET", "/v1/events/evt_1", "", 404, `{"error":{"type":"invalid_request_error","colour":"blue"}}`, "colour"},
		"no fraction":        {"GET", "/v1/charges/ch_1", "", 200, `{"object":"charge","amount":1.5}`, "amount"},
		"no JSON":            {"GET", "/v1/charges/ch_1", "", 200, `<html>`, "JSON"},
		"no object":          {"GET", "/v1/charges/ch_1", "", 200, `{"object":"charger"}`, "charger"},
		"id for an object":   {"GET", "/v1/charges/ch_1", "", 200, `{"object":"charge","customer":"cus_1","metadata":{"a":"b"}}`, ""},
		"old parameter":      {"POST", "/v1/invoiceitems", "customer=cus_1&unit_amount=5&currency=eur", 200, `{"object":"invoiceitem"}`, ""},
		"not of the API":     {"GET", "/c/pay/cs_1", "", 200, `<html>`, ""},
		"metadata of a list": {"GET", "/v1/charges/ch_1", "", 200, `{"object":"charge","metadata":{"a":1}}`, "metadata"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &witness{TB: t}
			check := stripefaketest.Transport(w, stripefake.Through(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if got, err := io.ReadAll(r.Body); err != nil || string(got) != test.body {
					t.Errorf("the fake got %q, %v", got, err)
				}
				rw.WriteHeader(test.status)
				_, _ = io.WriteString(rw, test.answer)
			})))
			r, err := http.NewRequestWithContext(t.Context(), test.method, "http://stripe.example"+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			answer, err := check.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(answer.Body); err != nil || string(got) != test.answer {
				t.Errorf("answer %q, %v", got, err)
			}
			switch {
			case test.found == "" && len(w.found) > 0:
				t.Errorf("found %q", w.found)
			case test.found != "" && (len(w.found) != 1 || !strings.Contains(w.found[0], test.found)):
				t.Errorf("found %q, want %q", w.found, test.found)
			}
		})
	}
}

func TestProxy(t *testing.T) {
	t.Parallel()
	fake, err := stripefake.New(stripefake.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fake.Close(); err != nil {
			t.Error(err)
		}
	})
	base, err := fake.Start("")
	if err != nil {
		t.Fatal(err)
	}
	w := &witness{TB: t}
	proxy := stripefaketest.Proxy(w, base)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	ask := func(body string) (int, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, proxy+"/v1/customers", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(stripefake.Key, "")
		answer, err := transport.RoundTrip(r)
		if err != nil {
			return 0, err
		}
		return answer.StatusCode, answer.Body.Close()
	}
	if status, err := ask("name=A"); status != http.StatusOK || err != nil {
		t.Errorf("%d, %v", status, err)
	}
	fake.Inject(stripefake.Fault{Kind: stripefake.Lose})
	if status, err := ask("name=B"); err == nil {
		t.Errorf("%d of a broken connection", status)
	}
	if n := len(fake.Objects("customer")); n != 2 || len(w.found) > 0 {
		t.Errorf("%d customers, found %q", n, w.found)
	}
}
