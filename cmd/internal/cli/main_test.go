package cli

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hmsovereign/ringfence/sync/portal"
	"github.com/hmsovereign/ringfence/sync/portal/portaltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// within bounds every wait of these tests.
const within = 20 * time.Second

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	t.Cleanup(cancel)
	return ctx
}

// sidecar is the real admin API over stores in memory.
type sidecar struct {
	url      string
	book     *portaltest.Book
	balances *portaltest.Balances
}

func newSidecar(t *testing.T, token string) *sidecar {
	s := &sidecar{book: portaltest.NewBook(), balances: portaltest.NewBalances()}
	d := portaltest.NewDirectory()
	s.url = serve(t, portal.NewAdmin(portal.AdminConfig{Book: s.book, Mirror: d, Directory: d,
		Balances: s.balances, Calls: s.balances, Killer: s.balances, Token: token}))
	return s
}

func serve(t *testing.T, h http.Handler) string {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func client(t *testing.T, a Admin) *Client {
	t.Helper()
	c, err := a.Client()
	if err != nil {
		t.Fatal(err)
	}
	return c
}
