package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/deploy/services"
	"github.com/hmsovereign/ringfence/sync/ledger/postgres"
)

// partitions of a deployment: few, so that a look through all of them is quick.
const partitions = 4

// settings are configuration values by key, such as "calls.slice".
type settings map[string]any

// defaults are short times, so that a call's whole life passes in seconds. The deadlines are the exception: here a
// busy machine must not look like a Redis that is down.
func defaults() settings {
	return settings{
		"redis.partitions": partitions, "redis.timeout": "3s", "hook.deadline": "5s", "policy.mode": "closed",
		"sip.listen": "", "log.level": "info",
		"calls.slice": "2s", "calls.extend_before": "1s", "calls.warn_before": "3s", "calls.hangup_before": "0s",
		"calls.unanswered_after": "60s", "calls.lost_after": "60s",
		"meter.lease": "1500ms", "meter.sweep_every": "1s",
	}
}

// deployment is one Redis, the sidecars that share it, and the switches they serve.
type deployment struct {
	t        *testing.T
	binary   string
	redis    *services.RedisServer
	store    *balance.Store // the test's own look at the balances
	settings settings
	pbx      *pbx
	http     *http.Client
	names    int
}

// deploy starts a Redis that forgets nothing. Changes are settings beside the defaults, for all its sidecars.
func deploy(t *testing.T, changes settings) *deployment {
	t.Helper()
	d := alone(t, changes)
	d.redis = services.Redis(t, services.AppendAlways())
	d.settings["redis.url"] = d.redis.URL
	var err error
	d.store, err = balance.New(d.redis.Client(), balance.Config{Partitions: partitions}, nil)
	must(t, err)
	t.Cleanup(d.store.Close)
	d.leaseOutbox(time.Now().Add(time.Hour))
	return d
}

// alone is a deployment without any Redis: its sidecar has stores of its own.
func alone(t *testing.T, changes settings) *deployment {
	t.Helper()
	d := &deployment{t: t, binary: services.Binary(t), settings: defaults(), pbx: newPBX(t)}
	maps.Copy(d.settings, changes)
	d.settings["switches"] = d.pbx.switches()
	// A connection that a killed sidecar has left behind is no way to reach the next one.
	d.http = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	return d
}

// share gives the deployment a ledger that several sidecars can use.
func (d *deployment) share() {
	d.t.Helper()
	url := services.SharedDatabase(d.t)
	l, err := postgres.Open(d.t.Context(), postgres.Config{URL: url})
	must(d.t, err)
	must(d.t, errors.Join(l.Migrate(d.t.Context()), l.Close()))
	d.settings["ledger.url"] = url
}

// leaseOutbox holds, until a time, the leases under which sidecars read the outbox, so that every record stays where
// the test can count it.
func (d *deployment) leaseOutbox(until time.Time) {
	d.t.Helper()
	for p := range partitions {
		_, err := d.store.Lease(d.t.Context(), fmt.Sprintf("outbox:%02d", p), "the test", time.Now().UnixMilli(), until.UnixMilli())
		must(d.t, err)
	}
}

// sidecar is one process of the binary. Its address, name and data folder stay when it is started again.
type sidecar struct {
	*services.Daemon
	d      *deployment
	name   string
	hook   string // http://host:port
	ops    string
	config string // file
	set    settings
}

// prepare makes a sidecar that does not run yet.
func (d *deployment) prepare(name string, changes settings) *sidecar {
	d.t.Helper()
	dir := d.t.TempDir()
	port := func() string { return fmt.Sprintf("127.0.0.1:%d", services.FreePort(d.t)) }
	s := &sidecar{d: d, name: name, config: filepath.Join(dir, "ringfence.yaml"), set: maps.Clone(d.settings)}
	hook, ops := port(), port()
	maps.Copy(s.set, settings{"instance": name, "data_dir": filepath.Join(dir, "data"),
		"hook.listen": hook, "ops.listen": ops, "public.listen": port()})
	maps.Copy(s.set, changes)
	s.hook, s.ops = "http://"+hook, "http://"+ops
	s.write()
	return s
}

// sidecar starts one and returns without waiting for it.
func (d *deployment) sidecar(name string) *sidecar {
	d.t.Helper()
	s := d.prepare(name, nil)
	s.start()
	return s
}

// write writes the configuration file: JSON, which is YAML too.
func (s *sidecar) write() {
	s.d.t.Helper()
	must(s.d.t, os.WriteFile(s.config, s.set.yaml(s.d.t), 0o600))
}

// yaml nests the settings by the parts of their keys.
func (s settings) yaml(t *testing.T) []byte {
	t.Helper()
	root := map[string]any{}
	for key, value := range s {
		at := root
		parts := strings.Split(key, ".")
		for _, part := range parts[:len(parts)-1] {
			if _, made := at[part]; !made {
				at[part] = map[string]any{}
			}
			at = at[part].(map[string]any)
		}
		at[parts[len(parts)-1]] = value
	}
	text, err := json.MarshalIndent(root, "", "  ")
	must(t, err)
	return text
}

// start runs the process, the first time or again.
func (s *sidecar) start() {
	s.d.t.Helper()
	s.Daemon = services.Command{Path: s.d.binary, Args: []string{"serve", "--config", s.config}, Dir: filepath.Dir(s.config)}.Start(s.d.t)
}

// restart kills the process and starts the next one, which is up when it returns.
func (s *sidecar) restart() {
	s.d.t.Helper()
	s.Kill()
	s.start()
	s.listening()
}

// listening waits until the sidecar takes hooks.
func (s *sidecar) listening() {
	s.d.t.Helper()
	services.Eventually(s.d.t, startPatience, func() error {
		select {
		case <-s.Done():
			s.d.t.Fatalf("sidecar %s has ended:\n%s", s.name, s.Logs())
		default:
		}
		_, err := s.send(http.MethodGet, s.hook+"/", nil)
		return err
	})
}

// ready waits until every component of the sidecar is well.
func (s *sidecar) ready() {
	s.d.t.Helper()
	s.listening()
	services.Eventually(s.d.t, patience, func() error {
		a, err := s.send(http.MethodGet, s.ops+"/readyz", nil)
		if err == nil && a.text("status") != "ready" {
			err = errors.New(a.raw)
		}
		return err
	})
}

// answer is what a sidecar said.
type answer struct {
	status int
	body   map[string]any
	raw    string
	took   time.Duration
}

func (a answer) text(name string) string {
	s, _ := a.body[name].(string)
	return s
}

func (a answer) number(name string) int64 {
	f, _ := a.body[name].(float64)
	return int64(f)
}

// code is why something was refused.
func (a answer) code() string {
	e, _ := a.body["error"].(map[string]any)
	c, _ := e["code"].(string)
	return c
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, strings.TrimSpace(a.raw)) }

// send makes one request; the error says that no answer came.
func (s *sidecar) send(method, url string, body any) (answer, error) {
	var text []byte
	switch b := body.(type) {
	case nil:
	case []byte:
		text = b
	default:
		var err error
		if text, err = json.Marshal(b); err != nil {
			return answer{}, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(text))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	asked := time.Now()
	res, err := s.d.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: res.StatusCode, raw: string(raw), took: time.Since(asked)}
	_ = json.Unmarshal(raw, &a.body) // what is no object has no fields
	return a, nil
}

// post makes a request that must be answered.
func (s *sidecar) post(path string, body any) answer {
	s.d.t.Helper()
	a, err := s.send(http.MethodPost, s.hook+path, body)
	// A body that is refused unread may break off before the answer is looked at.
	for range 20 {
		if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
			break
		}
		a, err = s.send(http.MethodPost, s.hook+path, body)
	}
	must(s.d.t, err)
	return a
}

// admin makes a request of the operator's API that must succeed.
func (s *sidecar) admin(method, path string, body any) answer {
	s.d.t.Helper()
	a, err := s.send(method, s.ops+"/admin/v1/"+path, body)
	must(s.d.t, err)
	if a.status/100 != 2 {
		s.d.t.Fatalf("%s %s at %s: %v", method, path, s.name, a)
	}
	return a
}

// account is a customer with one number.
type account struct {
	id, number string
}

// open makes an account with credit, in units, and waits until each of the sidecars knows it.
func (d *deployment) open(id string, units int64, known ...*sidecar) account {
	d.t.Helper()
	d.names++
	a := account{id: id, number: fmt.Sprintf("+318508350%02d", 10+d.names)}
	first := known[0]
	first.admin(http.MethodPost, "accounts", map[string]any{"id": a.id, "company_name": "Company " + id})
	first.admin(http.MethodPost, "numbers", map[string]any{"number": a.number, "account": a.id})
	if units > 0 {
		first.grant(a, units, "first")
	}
	for _, s := range known {
		services.Eventually(d.t, patience, func() error {
			q, err := s.send(http.MethodPost, s.hook+"/v1/quote", map[string]any{"call_id": "q", "direction": "outbound", "from": a.number, "to": someone})
			if err == nil && q.status != http.StatusOK && q.code() != "insufficient_credits" {
				err = fmt.Errorf("%s does not know %s: %v", s.name, a.id, q)
			}
			return err
		})
	}
	return a
}

func (s *sidecar) grant(a account, units int64, reference string) {
	s.d.t.Helper()
	s.admin(http.MethodPost, "accounts/"+a.id+"/grants", map[string]any{"units": units, "reference": reference})
}

// second is what a second of talk costs, in units.
const second = 1000

// someone is whoever is called, or calls.
const someone = "+31201234567"
