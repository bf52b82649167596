package hook_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/hook"
)

func TestNewReportsEveryError(t *testing.T) {
	fake := &scripted{}
	_, err := hook.New(hook.Config{
		Listen: "0.0.0.0:8402", TLSKey: "key.pem", ClientCA: "", AudioURL: "ftp://x", Announcer: "pbx",
		Deadline: -1, MaxConcurrent: -2, ExtraCostMax: -3, IdleTimeout: -4,
	}, fake, fake, nil, quiet(), hook.NewMetrics(prometheus.NewRegistry()))
	if err == nil {
		t.Fatal("a wrong configuration was taken")
	}
	const want = `hook listen "0.0.0.0:8402": not a loopback address, and anybody who reaches it could place and end calls; set a token, or tls_cert, tls_key and client_ca, or listen on 127.0.0.1:8402
hook tls_cert "": tls_cert and tls_key go together; set both or neither
hook audio_url "ftp://x": not an http or https URL; write one such as http://10.0.0.5:8402, or leave it out
hook announcer "pbx": address pbx: missing port in address; write host:port
hook deadline "-1ns": must be above zero
hook max_concurrent "-2": must be above zero
hook extra_cost_max "-3": must be above zero, or -1 for none
hook idle_timeout "-4ns": must be above zero`
	if err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestNonLoopbackWantsProtection(t *testing.T) {
	fake := &scripted{}
	for _, listen := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:8402"} {
		for _, token := range []string{"", "secret"} {
			_, err := hook.New(hook.Config{Listen: listen, Token: token}, fake, fake, nil, quiet(), hook.NewMetrics(prometheus.NewRegistry()))
			if (err == nil) != (token != "") {
				t.Errorf("listen %q with token %q: %v", listen, token, err)
			}
		}
	}
	for _, listen := range []string{"", "127.0.0.1:0", "[::1]:0", "127.8.8.8:0", "localhost:0"} {
		if _, err := hook.New(hook.Config{Listen: listen}, fake, fake, nil, quiet(), hook.NewMetrics(prometheus.NewRegistry())); err != nil {
			t.Errorf("listen %q: %v", listen, err)
		}
	}
}

func TestToken(t *testing.T) {
	fake := &scripted{}
	base := start(t, newServer(t, hook.Config{Listen: "127.0.0.1:0", Token: "s3cret"}, fake))
	c := client(t, &http.Transport{})
	send := func(path, auth, body string) (int, string, http.Header) {
		req, _ := http.NewRequest(http.MethodPost, base+path, strings.NewReader(body))
		if auth != "" {
			req.Header.Set("Authorization", auth)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, readAll(t, resp), resp.Header
	}
	const refused = `{"error":{"code":"unauthorized","message":"The hook token is missing or wrong."}}`
	for _, auth := range []string{"", "s3cret", "Bearer", "Bearer s3cre", "Bearer s3cret2", "Basic s3cret"} {
		for path, body := range map[string]string{"/v1/authorize": outboundBody, "/v1/quote": "{", "/v1/events": `{"type":"ended","call_id":"c1"}`} {
			status, answer, header := send(path, auth, body)
			want(t, path+" with "+auth, status, answer, 401, refused)
			if header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s asks for %q", path, header.Get("WWW-Authenticate"))
			}
		}
	}
	if len(fake.asked)+len(fake.events) > 0 {
		t.Fatal("something was asked without the token")
	}
	for _, auth := range []string{"Bearer s3cret", "bearer s3cret"} {
		if status, answer, _ := send("/v1/authorize", auth, outboundBody); status != 200 {
			t.Errorf("with %s answered %d %s", auth, status, answer)
		}
	}
	// A switch whose token is wrong can still call for help; nothing is recorded.
	asked := len(fake.asked)
	status, answer, _ := send("/v1/authorize", "", emergencyBody)
	want(t, "emergency without token", status, answer, 200, emergencyAnswer)
	if len(fake.asked) != asked {
		t.Error("the authorizer was asked without the token")
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hook.sock")
	cfg := hook.Config{Listen: "127.0.0.1:0", Socket: path}
	fake := &scripted{decide: denying(authz.CodeTooManyCalls)}
	first := newServer(t, cfg, fake)
	base := start(t, first)
	if info, err := os.Stat(path); err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("socket has mode %v, %v", info.Mode(), err)
	}
	c := client(t, &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}})
	resp, err := c.Post("http://nowhere/v1/authorize", "application/json", strings.NewReader(inboundBody))
	if err != nil {
		t.Fatal(err)
	}
	// The name a client gives a socket leads nowhere; the prompt's URL must.
	if answer := readAll(t, resp); resp.StatusCode != 429 || !strings.Contains(answer, `"url":"`+base+`/v1/audio/too_many_calls.en.wav"`) {
		t.Errorf("answered %d %s", resp.StatusCode, answer)
	}
	if err := newServer(t, cfg, fake).Start(t.Context()); err == nil || !strings.Contains(err.Error(), "another process listens on it") {
		t.Errorf("a second server on the socket: %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the second server removed the socket: %v", err)
	}
}

func TestUnixSocketFileLeftBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hook.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	srv := newServer(t, hook.Config{Listen: "127.0.0.1:0", Socket: path}, &scripted{})
	start(t, srv)
	stop(t, srv)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the end the socket is still there: %v", err)
	}
}

func TestUnixSocketSparesOtherFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(path, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := newServer(t, hook.Config{Listen: "127.0.0.1:0", Socket: path}, &scripted{}).Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("start: %v", err)
	}
	if b, err := os.ReadFile(path); string(b) != "keep" {
		t.Errorf("the file holds %q, %v", b, err)
	}
}

func TestStartTellsAddressInUse(t *testing.T) {
	srv := newServer(t, hook.Config{Listen: "127.0.0.1:0"}, &scripted{})
	start(t, srv)
	if err := srv.Start(t.Context()); !errors.Is(err, hook.ErrStarted) {
		t.Errorf("a second start: %v", err)
	}
	taken := srv.Addr().String()
	if err := newServer(t, hook.Config{Listen: taken}, &scripted{}).Start(t.Context()); err == nil || !strings.Contains(err.Error(), taken) {
		t.Errorf("start on an address in use: %v", err)
	}
}

// TestShutdownWaitsForAnswers: a call being decided is answered; what outlasts
// the shutdown's context is cut off, and its hold given back.
func TestShutdownWaitsForAnswers(t *testing.T) {
	for _, patient := range []bool{true, false} {
		entered, release := make(chan struct{}), make(chan struct{})
		fake := &scripted{gone: make(chan authz.Request, 1)}
		fake.decide = func(context.Context, *authz.Request) authz.Decision {
			close(entered)
			<-release
			return allow
		}
		srv := newServer(t, hook.Config{Listen: "127.0.0.1:0"}, fake)
		if err := srv.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		c := client(t, &http.Transport{})
		status := make(chan int, 1)
		go func() {
			resp, err := c.Post("http://"+srv.Addr().String()+"/v1/authorize", "application/json", strings.NewReader(outboundBody))
			if err != nil {
				status <- 0
				return
			}
			resp.Body.Close()
			status <- resp.StatusCode
		}()
		within(t, entered)
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error, 1)
		go func() { stopped <- srv.Shutdown(ctx) }()
		if patient {
			close(release)
			if err, got := within(t, stopped), within(t, status); err != nil || got != 200 {
				t.Errorf("shutdown ended with %v and the call with %d", err, got)
			}
		} else {
			cancel()
			if got := within(t, status); got != 0 {
				t.Errorf("a call that was cut off was answered %d", got)
			}
			close(release)
			if err := within(t, stopped); !errors.Is(err, context.Canceled) {
				t.Errorf("shutdown: %v", err)
			}
			if len(fake.gone) != 1 {
				t.Error("shutdown returned while a call was still being decided")
			}
		}
		cancel()
	}
}

func TestMutualTLS(t *testing.T) {
	dir := t.TempDir()
	ca, caKey := certificate(t, dir, "ca", nil, nil)
	certificate(t, dir, "server", ca, caKey)
	certificate(t, dir, "switch", ca, caKey)
	certificate(t, dir, "stranger", nil, nil)
	file := func(name string) string { return filepath.Join(dir, name) }
	cfg := hook.Config{Listen: "127.0.0.1:0", TLSCert: file("server.crt"), TLSKey: file("server.key"), ClientCA: file("ca.crt")}
	base := strings.Replace(start(t, newServer(t, cfg, &scripted{})), "http:", "https:", 1)

	roots := x509.NewCertPool()
	roots.AddCert(ca)
	ask := func(certs ...tls.Certificate) (int, error) {
		c := client(t, &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certs}})
		resp, err := c.Post(base+"/v1/authorize", "application/json", strings.NewReader(outboundBody))
		if err != nil {
			return 0, err
		}
		readAll(t, resp)
		return resp.StatusCode, nil
	}
	pair := func(name string) tls.Certificate {
		p, err := tls.LoadX509KeyPair(file(name+".crt"), file(name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if status, err := ask(pair("switch")); status != 200 {
		t.Errorf("a switch with a certificate: %d, %v", status, err)
	}
	if status, err := ask(); err == nil {
		t.Errorf("a client without certificate was answered %d", status)
	}
	if status, err := ask(pair("stranger")); err == nil {
		t.Errorf("a client with another's certificate was answered %d", status)
	}

	for _, c := range []struct {
		cfg  hook.Config
		want string
	}{
		{hook.Config{TLSCert: file("none.crt"), TLSKey: file("server.key")}, "none.crt"},
		{hook.Config{TLSCert: file("server.crt"), TLSKey: file("server.key"), ClientCA: file("none.crt")}, "none.crt"},
		{hook.Config{TLSCert: file("server.crt"), TLSKey: file("server.key"), ClientCA: file("ca.key")}, "holds no PEM certificate"},
		{hook.Config{ClientCA: file("ca.crt")}, "set tls_cert and tls_key too"},
	} {
		fake := &scripted{}
		if _, err := hook.New(c.cfg, fake, fake, nil, quiet(), hook.NewMetrics(prometheus.NewRegistry())); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// certificate writes NAME.crt and NAME.key, signed by a parent or by itself.
func certificate(t *testing.T, dir, name string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if parent == nil {
		tmpl.IsCA, tmpl.KeyUsage = true, x509.KeyUsageCertSign
		parent, parentKey = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, parentKey)
	must(err)
	cert, err := x509.ParseCertificate(der)
	must(err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	must(err)
	must(os.WriteFile(filepath.Join(dir, name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(os.WriteFile(filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	return cert, key
}
