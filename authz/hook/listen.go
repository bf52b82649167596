package hook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

// ErrStarted: Start was called twice.
var ErrStarted = errors.New("hook server was started before")

// bound is what Start made and Shutdown takes down.
type bound struct {
	mu      sync.Mutex
	started bool
	addr    net.Addr
	serving sync.WaitGroup
}

// loadTLS reads the certificate files; nil without any.
func (c Config) loadTLS() (*tls.Config, error) {
	if c.TLSCert == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("hook tls_cert %q, tls_key %q: %w", c.TLSCert, c.TLSKey, err)
	}
	t := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if c.ClientCA != "" {
		pem, err := os.ReadFile(c.ClientCA)
		if err != nil {
			return nil, fmt.Errorf("hook client_ca: %w", err)
		}
		t.ClientCAs = x509.NewCertPool()
		if !t.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("hook client_ca %q: holds no PEM certificate", c.ClientCA)
		}
		t.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return t, nil
}

// Start binds the listeners, so that an address in use is an error here, and
// then serves until Shutdown. The context bounds the binding only.
func (s *Server) Start(ctx context.Context) error {
	s.bound.mu.Lock()
	defer s.bound.mu.Unlock()
	if s.bound.started {
		return ErrStarted
	}
	var lc net.ListenConfig
	var listeners []net.Listener
	if !s.cfg.NoTCP {
		tcp, err := lc.Listen(ctx, "tcp", s.addr.String())
		if err != nil {
			return fmt.Errorf("hook listen %q: %w", s.cfg.Listen, err)
		}
		s.bound.addr = tcp.Addr()
		if s.tls != nil {
			tcp = tls.NewListener(tcp, s.tls)
		}
		listeners = append(listeners, tcp)
	}
	if s.cfg.Socket != "" {
		unix, err := listenUnix(ctx, s.cfg.Socket)
		if err != nil {
			for _, l := range listeners {
				err = errors.Join(err, l.Close())
			}
			s.bound.addr = nil
			return err
		}
		listeners = append(listeners, unix)
	}
	if s.tls == nil && !s.cfg.NoTCP && s.cfg.Token != "" && !s.addr.IP.IsLoopback() {
		s.log.Warn("the hook token crosses the network in clear; set tls_cert and tls_key", "listen", s.cfg.Listen)
	}
	s.bound.started = true
	for _, l := range listeners {
		s.bound.serving.Go(func() {
			if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				s.failed <- fmt.Errorf("hook listener %s: %w", l.Addr(), err)
			}
		})
	}
	s.log.Info("hooks listening", "addr", fmt.Sprint(s.bound.addr), "socket", s.cfg.Socket, "tls", s.tls != nil)
	return nil
}

// Addr is the TCP address in use; nil before Start, and without TCP.
func (s *Server) Addr() net.Addr {
	s.bound.mu.Lock()
	defer s.bound.mu.Unlock()
	return s.bound.addr
}

// Failed gives the error of a listener that died while serving.
func (s *Server) Failed() <-chan error { return s.failed }

// Shutdown stops listening and lets requests in progress finish; those that come
// in meanwhile on open connections are refused, except events and emergency
// calls. When the context ends first it closes every connection and returns the
// context's error; no request is in progress after it returns, unless one has
// outstayed its deadline by more than a second.
func (s *Server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	s.bound.serving.Wait()
	s.settleDown()
	return err
}

// settleDown waits, for a bounded time, until no request is being worked on:
// http.Server.Close does not wait for handlers.
func (s *Server) settleDown() {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(s.cfg.Deadline + time.Second)
	defer deadline.Stop()
	for s.working.Load() > 0 {
		select {
		case <-tick.C:
		case <-deadline.C:
			s.log.Error("hook requests outlived their deadline", "requests", s.working.Load())
			return
		}
	}
}

// listenUnix binds a unix socket that owner and group may use. A socket file
// that nobody listens on any more is replaced; any other file is left alone.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	fail := func(err error) (net.Listener, error) { return nil, fmt.Errorf("hook socket %q: %w", path, err) }
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fail(err)
	case info.Mode().Type() != fs.ModeSocket:
		return fail(errors.New("there is a file of that name which is no socket; remove it or choose another path"))
	default:
		var d net.Dialer
		switch c, err := d.DialContext(ctx, "unix", path); {
		case err == nil:
			return fail(errors.Join(errors.New("another process listens on it; stop that or choose another path"), c.Close()))
		case !errors.Is(err, syscall.ECONNREFUSED):
			return fail(err)
		}
		if err := os.Remove(path); err != nil {
			return fail(err)
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return fail(err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return fail(errors.Join(err, l.Close()))
	}
	return l, nil
}
