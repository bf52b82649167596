package config

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// shortToken is what can be guessed by trying.
const shortToken = 16

// warnings are what is allowed but unwise.
func warnings(c *Config, modes map[string]fs.FileMode) []string {
	var w []string
	warn := func(format string, args ...any) { w = append(w, fmt.Sprintf(format, args...)) }

	if keys := c.secretsFrom(FromFile); len(keys) > 0 && worldReadable(modes[c.path]) {
		warn("%s holds %s and every user may read it (mode %04o): chmod 600 it, or give secrets as variables (%s names a file)",
			c.path, strings.Join(keys, ", "), modes[c.path].Perm(), "RINGFENCE_..."+fileSuffix)
	}
	if info, err := os.Stat(c.Hook.TLS.Key); c.Hook.TLS.Key != "" && err == nil && worldReadable(info.Mode()) {
		warn("hook.tls.key %s may be read by every user (mode %04o): chmod 600 it", c.Hook.TLS.Key, info.Mode().Perm())
	}
	if remote := c.Hook.Listen != "" && !loopback(c.Hook.Listen); remote {
		if c.Hook.TLS.Cert == "" {
			warn("hook.listen %s is reached over the network without TLS: hook.token and numbers travel in the clear", c.Hook.Listen)
		}
		if t := c.Hook.Token; t != "" && len(t) < shortToken {
			warn("hook.token is shorter than %d characters and guards an address that others reach", shortToken)
		}
	}
	if t := c.Ops.AdminToken; t != "" && len(t) < shortToken && !loopback(c.Ops.Listen) {
		warn("ops.admin_token is shorter than %d characters and guards an address that others reach", shortToken)
	}
	if c.Stripe.Key != "" && c.Stripe.WebhookSecret == "" {
		warn("stripe.key is set but stripe.webhook_secret is not: payments are noticed by polling only")
	}
	if c.Stripe.Key != "" && c.Public.URL == "" {
		warn("stripe.key is set but public.url is not: buyers are led back to http://%s", c.Public.Listen)
	}
	if c.Stripe.Key == "" && c.Stripe.WebhookSecret != "" {
		warn("stripe.webhook_secret is set but stripe.key is not: nothing is sold")
	}
	if c.SIP.Listen != "" && !loopback(c.SIP.Listen) && !slices.ContainsFunc(c.SIP.Peers, beyondLoopback) {
		warn("sip.listen %s is reached over the network, but sip.peers lets only this machine ask", c.SIP.Listen)
	}
	if host, _, ok := listen(c.SIP.Listen); ok && c.SIP.Advertise == "" {
		if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
			warn("sip.listen %s names no host, so denials come without sip_uri: set sip.advertise to the host:port by which switches reach it", c.SIP.Listen)
		}
	}
	for _, p := range c.SIP.Peers {
		if p.Bits() == 0 && c.SIP.Listen != "" && !loopback(c.SIP.Listen) {
			warn("sip.peers %s lets everybody use the announcer", p)
		}
	}
	if c.Calls.WarnBefore >= c.Calls.Slice {
		warn("calls.warn_before %s is not less than calls.slice %s: that credit ends is known one slice ahead, so callers are warned later",
			showDuration(c.Calls.WarnBefore), showDuration(c.Calls.Slice))
	}
	for i, s := range c.Switches {
		if s.ControlURL == "" && !s.Heartbeat {
			warn("switches[%d] (%s) has neither control_url nor heartbeat: a call is cut off only by the switch's own timer", i, s.Name)
		}
		if s.OnFailure == "terminate" && !s.Heartbeat {
			warn("switches[%d] (%s) has on_failure terminate, which only a heartbeating switch follows", i, s.Name)
		}
	}
	return w
}

func beyondLoopback(p netip.Prefix) bool { return !p.Addr().IsLoopback() }

// secretsFrom lists the keys of the secrets that came from one source.
func (c *Config) secretsFrom(source Source) []string {
	var keys []string
	for _, l := range c.leaves() {
		if l.secret() && c.Origin(l.path).Source == source {
			keys = append(keys, l.path)
		}
	}
	return keys
}
