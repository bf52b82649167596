package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/config"
	"github.com/hmsovereign/ringfence/sync/ledger"
)

// Checked is what a check of one part found.
type Checked struct {
	Name string
	Note string
	Err  error // ErrNotConfigured, ErrNotTried: there is nothing to say
	Open bool  // Note says what could not be checked
}

var (
	// ErrNotConfigured marks parts that are left out or embedded.
	ErrNotConfigured = errors.New("not configured")
	// ErrNotTried marks parts that cannot be checked since another is wrong.
	ErrNotTried = errors.New("not tried")
)

// Check tries what a sidecar of this configuration would use, changing nothing
// but a probe in Redis and in the data directory.
func Check(ctx context.Context, c *config.Config) []Checked {
	var out []Checked
	add := func(name, note string, err error) { out = append(out, Checked{Name: name, Note: note, Err: err}) }
	err := checkDir(c.DataDir)
	add("data_dir", c.DataDir, err)
	note, err := checkRedis(ctx, c)
	add("redis", note, err)
	note, err = checkLedger(ctx, c)
	add("ledger", note, err)
	for _, path := range c.Tariffs.File {
		b, err := os.ReadFile(path)
		if err == nil {
			_, err = tariff.Parse(b)
		}
		add("tariff", path, err)
	}
	shop, asked := checkShop(ctx, c)
	out = append(out, shop...)
	out = append(out, checkUsage(ctx, c, asked)...)
	for _, l := range []struct{ name, addr string }{{"hook", c.Hook.Listen}, {"public", c.Public.Listen}, {"ops", c.Ops.Listen}} {
		if l.addr == "" {
			continue
		}
		err := checkListen(ctx, l.addr)
		add(l.name, l.addr+" is free", err)
	}
	if c.SIP.Listen != "" {
		add("sip", c.SIP.Listen+" is free", checkPacket(ctx, c.SIP.Listen))
	}
	for _, s := range c.Switches {
		if s.ControlURL.Reveal() == "" {
			add("switch", "", fmt.Errorf("%s: %w: no control_url, so it is hung up through heartbeats only", s.Name, ErrNotConfigured))
			continue
		}
		err := checkDial(ctx, s.ControlURL.Reveal(), s.Timeout)
		add("switch", s.Name+" answers at "+s.ControlURL.String(), err)
	}
	return out
}

func checkDir(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("%w; choose a folder this user may write (data_dir, RINGFENCE_DATA_DIR)", err)
	}
	f, err := os.CreateTemp(dir, ".check-*")
	if err != nil {
		return fmt.Errorf("%w; choose a folder this user may write (data_dir, RINGFENCE_DATA_DIR)", err)
	}
	return errors.Join(f.Close(), os.Remove(filepath.Clean(f.Name())))
}

func checkRedis(ctx context.Context, c *config.Config) (string, error) {
	if c.Redis.URL.Reveal() == "" {
		return "", fmt.Errorf("%w: embedded, for one sidecar on its own; set redis.url for real use", ErrNotConfigured)
	}
	rdb, _, err := openRedis(c)
	if err != nil {
		return "", err
	}
	defer rdb.Close()
	s, err := balance.New(rdb, balanceConfig(c, false), nil)
	if err != nil {
		return "", err
	}
	defer s.Close()
	if err := errors.Join(s.Compare(ctx), s.Ping(ctx)); err != nil {
		return "", err
	}
	note := c.Redis.URL.String() + " answers and takes writes"
	if info, err := rdb.Info(ctx, "persistence", "memory").Result(); err == nil {
		if strings.Contains(info, "aof_enabled:0") {
			note += "; appendonly is off: a crash of Redis loses what it has not saved (set appendonly yes)"
		}
		if strings.Contains(info, "maxmemory_policy:") && !strings.Contains(info, "maxmemory_policy:noeviction") {
			return note, errors.New("maxmemory-policy evicts keys, and with them balances; set maxmemory-policy noeviction")
		}
	}
	return note, nil
}

// checkLedger looks whether the ledger answers and has the schema needed. An
// embedded one that is not there yet is made at the start.
func checkLedger(ctx context.Context, c *config.Config) (string, error) {
	path, embedded := c.SQLitePath()
	if embedded {
		_, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return path + " will be made", nil
		}
		if err != nil {
			return "", err
		}
	}
	l, err := openPlainLedger(ctx, c)
	if errors.Is(err, ledger.ErrLocked) {
		return "", fmt.Errorf("%w: a running sidecar has it", err)
	}
	if err != nil {
		return "", err
	}
	defer l.Close()
	err = l.CheckSchema(ctx)
	if embedded && errors.Is(err, ledger.ErrSchema) {
		return path + " will be brought up to date", nil
	}
	return "answers, and its schema fits", err
}

func checkPacket(ctx context.Context, addr string) error {
	var lc net.ListenConfig
	l, err := lc.ListenPacket(ctx, "udp", addr)
	if err != nil {
		return fmt.Errorf("%w (a running sidecar has it, or choose another address)", err)
	}
	return l.Close()
}

func checkListen(ctx context.Context, addr string) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("%w (a running sidecar has it, or choose another address)", err)
	}
	return l.Close()
}

func checkDial(ctx context.Context, url string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	host := strings.TrimPrefix(strings.TrimPrefix(url, "https://"), "http://")
	host, _, _ = strings.Cut(host, "/")
	if !strings.Contains(host, ":") {
		host += map[bool]string{true: ":443", false: ":80"}[strings.HasPrefix(url, "https")]
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return err
	}
	return conn.Close()
}
