package config

import (
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"
)

// maxName bounds the names that become part of keys in Redis.
const maxName = 64

var (
	nameForm      = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`)
	emergencyForm = regexp.MustCompile(`^[0-9]{2,15}$`)
)

const nameRemedy = "write 1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-', beginning with a letter or digit"

// Validate checks a configuration again that code has changed. The error is
// like that of [Load]. It does not look at files.
func (c *Config) Validate() error {
	var p problems
	check(c, &p)
	return p.err()
}

// checker finds what is wrong; it changes nothing.
type checker struct {
	*Config
	*problems
}

// fail reports a key whose value is wrong.
func (c checker) fail(key, shown, problem, remedy string) {
	c.add(&Error{Field: key, Value: shown, Problem: problem, Remedy: remedy, Origin: c.Origin(key)})
}

func check(cfg *Config, p *problems) {
	c := checker{cfg, p}
	c.bounds(settings(), "", reflect.ValueOf(cfg).Elem())
	for i := range cfg.Switches {
		c.bounds(switchFields(), fmt.Sprintf("switches[%d].", i), reflect.ValueOf(&cfg.Switches[i]).Elem())
	}
	c.names()
	c.listeners()
	c.hook()
	c.sip()
	c.redis()
	c.ledger()
	c.stripe()
	c.smtp()
	c.calls()
	c.emergency()
	c.switches()
}

// bounds checks min, max and in of every key.
func (c checker) bounds(s *schema, prefix string, root reflect.Value) {
	for _, k := range s.keys {
		path := prefix + k.path
		if !c.sound(path) {
			continue
		}
		v := k.field(root)
		if len(k.in) > 0 && !slices.Contains(k.in, v.String()) {
			remedy := "write " + strings.Join(k.in, " or ")
			if like := suggest(v.String(), slices.Clone(k.in)); like != "" {
				remedy = "did you mean " + like + "? " + strings.ToUpper(remedy[:1]) + remedy[1:]
			}
			c.fail(path, v.String(), "is not one of the choices", remedy)
		}
		if k.min == "" && k.max == "" {
			continue
		}
		n, shown := v.Int(), show(v)
		least, most := bound(k.typ, k.min), bound(k.typ, k.max)
		switch {
		case n < least:
			c.fail(path, shown, "is too small", "write at least "+k.min+", at most "+k.max)
		case n > most:
			c.fail(path, shown, "is too large", "write at least "+k.min+", at most "+k.max)
		}
	}
}

// bound reads min or max as the key's type would; the tests read every tag.
func bound(t reflect.Type, s string) int64 {
	switch t {
	case reflect.TypeFor[time.Duration]():
		d, _ := time.ParseDuration(s)
		return int64(d)
	case reflect.TypeFor[Size]():
		n, _ := ParseSize(s)
		return int64(n)
	}
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

func (c checker) names() {
	if c.sound("instance") && !nameForm.MatchString(c.Instance) {
		c.fail("instance", c.Instance, "is not a name", nameRemedy)
	}
	if c.sound("tariffs.default") && !nameForm.MatchString(c.Tariffs.Default) {
		c.fail("tariffs.default", c.Tariffs.Default, "is not a name", nameRemedy)
	}
	if c.sound("data_dir") && c.DataDir == "" {
		c.fail("data_dir", "", "is empty", "name a folder that this user may write")
	}
}

// listen splits a listening address. Port 0 means any free one.
func listen(s string) (host string, port int, ok bool) {
	host, p, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, false
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil || strings.ContainsAny(host, " /@") {
		return "", 0, false
	}
	return host, int(n), true
}

// loopback reports whether only this machine reaches the address.
func loopback(address string) bool {
	host, _, ok := listen(address)
	return ok && loopbackHost(host)
}

// loopbackHost says so of a host. A name other than localhost is not looked up:
// it may mean something else tomorrow.
func loopbackHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// clash reports whether two listeners of one protocol cannot both be bound.
func clash(a, b string) bool {
	hostA, portA, okA := listen(a)
	hostB, portB, okB := listen(b)
	if !okA || !okB || portA != portB || portA == 0 {
		return false
	}
	plain := func(h string) string {
		if h == "localhost" {
			h = "127.0.0.1"
		}
		if ip, err := netip.ParseAddr(h); err == nil {
			if ip.IsUnspecified() {
				return ""
			}
			return ip.Unmap().String()
		}
		return strings.ToLower(h)
	}
	x, y := plain(hostA), plain(hostB)
	return x == y || x == "" || y == ""
}

func (c checker) listeners() {
	const remedy = "write host:port, such as 127.0.0.1:8402"
	tcp := []struct{ key, address string }{
		{"hook.listen", c.Hook.Listen}, {"public.listen", c.Public.Listen}, {"ops.listen", c.Ops.Listen},
	}
	for i, l := range tcp {
		if !c.sound(l.key) || l.key == "hook.listen" && l.address == "" && c.Hook.Socket != "" {
			continue
		}
		if _, _, ok := listen(l.address); !ok {
			c.fail(l.key, l.address, "is not an address", remedy)
			continue
		}
		for _, other := range tcp[:i] {
			if c.sound(other.key) && clash(l.address, other.address) {
				c.fail(l.key, l.address, "is also that of "+other.key, "give each listener a port of its own")
			}
		}
	}
	if c.sound("ops.listen", "ops.admin_token") && !loopback(c.Ops.Listen) && c.Ops.AdminToken == "" {
		c.fail("ops.admin_token", "", "is empty, but ops.listen "+c.Ops.Listen+" is not a loopback address",
			"set RINGFENCE_ADMIN_TOKEN, or listen on 127.0.0.1")
	}
	c.webURL("public.url", c.Public.URL)
}

func (c checker) hook() {
	h := c.Hook
	if c.sound("hook.listen", "hook.token", "hook.tls.client_ca") && h.Listen != "" && !loopback(h.Listen) &&
		h.Token == "" && h.TLS.ClientCA == "" {
		c.fail("hook.listen", h.Listen, "is not a loopback address, and nothing keeps strangers out",
			"set hook.token (RINGFENCE_HOOK_TOKEN) or hook.tls.client_ca, or listen on 127.0.0.1")
	}
	// sun_path of a unix socket holds 108 bytes with its ending zero (unix(7)).
	if c.sound("hook.socket") && len(h.Socket) > 107 {
		c.fail("hook.socket", h.Socket, "is longer than the 107 bytes a socket's path may have", "choose a shorter path")
	}
	if c.sound("hook.tls.cert", "hook.tls.key") && (h.TLS.Cert == "") != (h.TLS.Key == "") {
		key, other := "hook.tls.key", "hook.tls.cert"
		if h.TLS.Cert == "" {
			key, other = other, key
		}
		c.fail(key, "", "is empty, but "+other+" is set", "set both or neither")
	} else if c.sound("hook.tls.cert", "hook.tls.client_ca") && h.TLS.ClientCA != "" && h.TLS.Cert == "" {
		c.fail("hook.tls.cert", "", "is empty, but hook.tls.client_ca demands client certificates", "set hook.tls.cert and hook.tls.key")
	}
	c.webURL("hook.audio_url", h.AudioURL)
	c.country("hook.default_country", h.DefaultCountry)
}

// country checks an ISO 3166-1 alpha-2 code that has a telephone numbering plan.
func (c checker) country(key, code string) {
	if !c.sound(key) {
		return
	}
	if len(code) != 2 || !phonenumbers.GetSupportedRegions()[code] {
		remedy := "write the two capital letters of ISO 3166-1, such as NL"
		if upper := strings.ToUpper(code); len(code) == 2 && phonenumbers.GetSupportedRegions()[upper] {
			remedy = "write " + upper
		} else if upper == "UK" {
			remedy = "write GB"
		}
		c.fail(key, code, "is not a country code", remedy)
	}
}

func (c checker) emergency() {
	for _, country := range sortedKeys(c.Emergency.Numbers) {
		path := "emergency.numbers." + shorten(country)
		c.country(path, country)
		for i, n := range c.Emergency.Numbers[country] {
			at := fmt.Sprintf("%s[%d]", path, i)
			if !emergencyForm.MatchString(n) {
				c.add(&Error{Field: at, Value: n, Problem: "is not an emergency number",
					Remedy: "write its 2 to 15 digits as they are dialled", Origin: c.Origin(path)})
			}
		}
	}
}
