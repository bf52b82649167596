package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hmsovereign/ringfence/deploy/services"
)

const (
	kamailioPackages = "kamailio kamailio-utils-modules kamailio-extra-modules kamailio-sqlite-modules sqlite3"
	sippPackages     = "sip-tester"

	hookToken = "what-kamailio-sends-to-the-sidecar"
	rpcToken  = "what-the-sidecar-sends-to-kamailio"
)

// stack is a whole deployment on loopback: Redis, Postgres, one sidecar, one Kamailio, and a callee on each side of it.
type stack struct {
	t         testing.TB
	redis     *services.RedisServer
	sidecar   *services.Daemon
	binary    string
	config    string // of the sidecar
	hook      string // http://host:port
	ops       string
	public    string
	announcer string // host:port

	kamailio *services.Daemon
	env      map[string]string // what Kamailio is given
	rpc      string
	sip      int // Kamailio's port

	trunk     *phone // answers what goes out
	customers *phone // answers what comes in
	fromTrunk []int  // ports that Kamailio takes for the trunk's
	tagged    int    // port that it takes for the account "tagged"

	http  *http.Client
	names atomic.Int64
}

// settings are of the sidecar, by key, beside those that every test has.
type settings map[string]any

// options change a stack.
type options struct {
	sidecar    settings
	kamailio   map[string]string
	buildFlags []string // of the sidecar
	trunkOnly  bool     // nobody but the trunk is on Kamailio's list
}

// deploy starts everything. It is ready when the call returns.
func deploy(t testing.TB, o options) *stack {
	t.Helper()
	services.Tool(t, "kamailio", kamailioPackages)
	services.Tool(t, "sipp", sippPackages)
	s := &stack{t: t, redis: services.Redis(t, services.AppendOnly()), binary: services.Binary(t, o.buildFlags...),
		// A connection that a killed sidecar has left behind is no way to reach the next one.
		http: &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}}
	s.prepareSidecar(o.sidecar)
	if code := services.Process(t, s.binary, []string{"migrate", "up", "--config", s.config}, nil).Wait(patience); code != 0 {
		t.Fatalf("ringfence migrate up ended with %d", code)
	}
	s.startSidecar()
	s.sip = services.FreePort(t)
	s.trunk, s.customers = s.answer("callee.xml"), s.answer("callee.xml")
	s.prepareKamailio(o)
	s.startKamailio()
	return s
}

// prepareSidecar writes the sidecar's configuration. Its times are short, so that a call's whole life passes in
// seconds, and its deadlines long: here a busy machine must not look like a Redis that is down.
func (s *stack) prepareSidecar(changes settings) {
	s.t.Helper()
	dir := s.t.TempDir()
	local := func() string { return fmt.Sprintf("127.0.0.1:%d", services.FreePort(s.t)) }
	hook, ops, public, rpc := local(), local(), local(), local()
	rtp := evenPort(s.t)
	for s.announcer = local(); portOf(s.announcer) >= rtp && portOf(s.announcer) < rtp+40; {
		s.announcer = local()
	}
	s.hook, s.ops, s.public, s.rpc = "http://"+hook, "http://"+ops, "http://"+public, rpc
	set := settings{
		"instance": "wire", "data_dir": filepath.Join(dir, "data"), "log.level": "info",
		"hook.listen": hook, "hook.token": hookToken, "ops.listen": ops, "public.listen": public, "hook.deadline": "3s",
		"sip.listen": s.announcer, "sip.rtp_ports": fmt.Sprintf("%d-%d", rtp, rtp+39), "sip.max_announcements": 20,
		"redis.url": s.redis.URL, "redis.timeout": "2s", "redis.partitions": 4, "policy.mode": "closed",
		"ledger.url":  services.SharedDatabase(s.t),
		"calls.slice": "3s", "calls.extend_before": "1s", "calls.warn_before": "0s", "calls.hangup_before": stall.String(),
		"meter.lease": "2s", "meter.sweep_every": "2s",
		"switches": []map[string]any{{"name": "kamailio", "dialect": "kamailio", "control_url": "http://" + rpc + "/rpc", "token": rpcToken}},
	}
	maps.Copy(set, changes)
	root := map[string]any{}
	for key, value := range set {
		section, name, nested := strings.Cut(key, ".")
		if !nested {
			root[key] = value
			continue
		}
		if root[section] == nil {
			root[section] = map[string]any{}
		}
		root[section].(map[string]any)[name] = value
	}
	text, err := json.MarshalIndent(root, "", "  ") // which is YAML too
	must(s.t, err)
	s.config = filepath.Join(dir, "ringfence.yaml")
	must(s.t, os.WriteFile(s.config, text, 0o600))
}

// portOf takes an address of local apart.
func portOf(address string) int {
	_, port, _ := strings.Cut(address, ":")
	n, _ := strconv.Atoi(port)
	return n
}

// evenPort is the first of a few ports for audio, of which only itself is reserved.
func evenPort(t testing.TB) int {
	t.Helper()
	for {
		if p := services.FreePort(t); p%2 == 0 {
			return p
		}
	}
}

// startSidecar starts it, the first time or again, and waits until it is ready.
func (s *stack) startSidecar() {
	s.t.Helper()
	s.sidecar = services.Command{Path: s.binary, Args: []string{"serve", "--config", s.config}, Dir: filepath.Dir(s.config)}.Start(s.t)
	services.Eventually(s.t, patience, func() error {
		select {
		case <-s.sidecar.Done():
			s.t.Fatalf("the sidecar has ended:\n%s", s.sidecar.Logs())
		default:
		}
		var ready struct{ Status string }
		raw, err := s.get(s.ops + "/readyz")
		if err == nil && (json.Unmarshal(raw, &ready) != nil || ready.Status != "ready") {
			err = errors.New(string(raw))
		}
		return err
	})
	services.Eventually(s.t, patience, func() error {
		_, err := s.get(s.hook + "/")
		return err
	})
}

// prepareKamailio writes the list of addresses and says what the environment of Kamailio is.
func (s *stack) prepareKamailio(o options) {
	s.t.Helper()
	list := filepath.Join(s.t.TempDir(), "addresses.list")
	s.fromTrunk = []int{services.FreePort(s.t), services.FreePort(s.t), services.FreePort(s.t)}
	s.tagged = services.FreePort(s.t)
	var b strings.Builder
	for _, port := range append([]int{s.trunk.port}, s.fromTrunk...) {
		fmt.Fprintf(&b, "1 127.0.0.1 32 %d\n", port)
	}
	if !o.trunkOnly {
		fmt.Fprintf(&b, "2 127.0.0.1 32 0\n2 127.0.0.1 32 %d tagged\n", s.tagged) // of several lines for an address the last counts
	}
	must(s.t, os.WriteFile(list, []byte(b.String()), 0o600))
	_, rpcPort, err := net.SplitHostPort(s.rpc)
	must(s.t, err)
	s.env = map[string]string{
		"RF_LISTEN": fmt.Sprintf("udp:127.0.0.1:%d", s.sip), "RF_RPC_PORT": rpcPort, "RF_RPC_TOKEN": rpcToken, "RF_SIDECAR": s.hook, "RF_ANNOUNCER": s.announcer,
		"RF_TRUNK": s.trunk.uri(), "RF_CUSTOMERS": s.customers.uri(), "RF_ADDRESSES": list, "RF_OWN_NUMBERS": `^[+]3185083[0-9]+$`,
		"RF_CONTENT_TYPE": `application/json\r\nAuthorization: Bearer ` + hookToken,
		"RF_SILENCE_MS":   "2000", "RF_ASK_SECONDS": "5",
		"no_proxy": "127.0.0.1", "TZ": "UTC",
	}
	maps.Copy(s.env, o.kamailio)
}

// configuration is the file that is shipped.
func configuration(t testing.TB) string {
	t.Helper()
	path, err := filepath.Abs("../kamailio/kamailio.cfg")
	must(t, err)
	return path
}

// startKamailio starts it, the first time or again, and waits until it answers both SIP and orders.
func (s *stack) startKamailio() {
	s.t.Helper()
	var env []string
	for name, value := range s.env {
		env = append(env, name+"="+value)
	}
	dir := s.t.TempDir()
	s.kamailio = services.Command{
		Path: services.Tool(s.t, "kamailio", kamailioPackages), Args: []string{"-f", configuration(s.t), "-DD", "-E", "-Y", dir, "-w", dir},
		Env: env, Dir: dir, DeathSignal: syscall.SIGTERM,
	}.Start(s.t)
	services.Eventually(s.t, patience, func() error {
		select {
		case <-s.kamailio.Done():
			s.t.Fatalf("Kamailio has ended:\n%s", s.kamailio.Logs())
		default:
		}
		if _, err := s.dialogs(); err != nil {
			return err
		}
		return s.pingSIP()
	})
}

// pingSIP asks Kamailio for a sign of life by SIP.
func (s *stack) pingSIP() error {
	_, err := s.ask("OPTIONS sip:127.0.0.1 SIP/2.0\r\nFrom: <sip:ping@127.0.0.1>;tag=p\r\nTo: <sip:127.0.0.1>\r\nCSeq: 1 OPTIONS\r\n")
	return err
}

// ask sends Kamailio a request by UDP, with what every one has, and gives the first answer.
func (s *stack) ask(request string) (string, error) {
	c, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", s.sip))
	if err != nil {
		return "", err
	}
	defer c.Close()
	unique := time.Now().UnixNano()
	fmt.Fprintf(c, "%sVia: SIP/2.0/UDP %s;branch=z9hG4bK%d\r\nCall-ID: asked-%d\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n", request, c.LocalAddr(), unique, unique)
	if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return "", err
	}
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	return string(buf[:n]), err
}

// dialog is what Kamailio shows of a call.
type dialog struct {
	CallID    string              `json:"call-id"`
	State     int                 `json:"state"`
	Start     int64               `json:"start_ts"`
	Timeout   int64               `json:"timeout"` // Unix seconds
	Variables []map[string]string `json:"variables"`
}

func (d dialog) variable(name string) string {
	for _, v := range d.Variables {
		if text, ok := v[name]; ok {
			return text
		}
	}
	return ""
}

// dialogs lists Kamailio's calls.
func (s *stack) dialogs() ([]dialog, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+s.rpc+"/rpc", strings.NewReader(`{"jsonrpc":"2.0","method":"dlg.list","id":1}`))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+rpcToken)
	var a struct{ Result []dialog }
	raw, err := s.do(req)
	if err == nil {
		err = json.Unmarshal(raw, &a)
	}
	return a.Result, err
}

// awaitDialog waits until Kamailio has a talking call, and shows it.
func (s *stack) awaitDialog(callID string) dialog {
	s.t.Helper()
	var found dialog
	services.Eventually(s.t, patience, func() error {
		all, err := s.dialogs()
		for _, d := range all {
			if d.CallID == callID && d.State == 4 {
				found = d
				return nil
			}
		}
		return errors.Join(err, fmt.Errorf("Kamailio does not have %s talking", callID))
	})
	return found
}

func (s *stack) get(url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return s.do(req)
}

// do gives the body of an answer, whatever its status; the error says that there was none.
func (s *stack) do(req *http.Request) ([]byte, error) {
	res, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

// admin makes a request of the operator's API that must succeed, and reads its answer.
func (s *stack) admin(t testing.TB, method, path string, body, into any) {
	t.Helper()
	var text []byte
	if body != nil {
		var err error
		text, err = json.Marshal(body)
		must(t, err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.ops+"/admin/v1/"+path, bytes.NewReader(text))
	must(t, err)
	req.Header.Set("Content-Type", "application/json")
	res, err := s.http.Do(req)
	must(t, err)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	must(t, err)
	if res.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s %s", method, path, res.Status, raw)
	}
	if into != nil {
		must(t, json.Unmarshal(raw, into))
	}
}
