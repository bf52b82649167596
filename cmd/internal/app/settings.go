package app

import (
	"net"
	"net/netip"
	"time"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/balance"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/hook"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/config"
	"github.com/hmsovereign/ringfence/meter"
)

// authorizerSettings copies what the Authorizer goes by.
func authorizerSettings(c *config.Config) (authz.Settings, error) {
	emergency, err := tariff.NewEmergency(c.Emergency.Numbers)
	if err != nil {
		return authz.Settings{}, err
	}
	s := authz.Settings{
		Slice: c.Calls.Slice, MinSeconds: int64(c.Calls.MinSeconds), Unanswered: c.Calls.UnansweredAfter, MaxCall: c.Calls.MaxDuration,
		Country: c.Hook.DefaultCountry, Emergency: emergency, OnFailure: map[string]string{},
		Policy: authz.Policy{Mode: authz.PolicyMode(c.Policy.Mode), Allowance: c.Policy.KnownAllowance, KnownFor: c.Policy.KnownFor,
			Healthy: credit.Units(c.Policy.HealthyCredits) * credit.PerCredit, OpenCap: c.Policy.OpenCap},
	}
	for _, sw := range c.Switches {
		s.OnFailure[sw.Name] = sw.OnFailure
	}
	return s, nil
}

func balanceConfig(c *config.Config, embedded bool) balance.Config {
	return balance.Config{Partitions: c.Redis.Partitions, Embedded: embedded, Timeout: max(redisTimeout(c, embedded), time.Second), RejectedPerMinute: orNone(c.Calls.RejectedPerMinute)}
}

func hookConfig(c *config.Config) hook.Config {
	return hook.Config{Listen: c.Hook.Listen, NoTCP: c.Hook.Listen == "", Socket: c.Hook.Socket, MaxBody: int(c.Hook.MaxBody), Language: c.Audio.Language, Token: c.Hook.Token.Reveal(),
		TLSCert: c.Hook.TLS.Cert, TLSKey: c.Hook.TLS.Key, ClientCA: c.Hook.TLS.ClientCA,
		AudioURL: c.Hook.AudioURL.Reveal(), Announcer: announcerAddress(c), Deadline: c.Hook.Deadline, MaxConcurrent: c.Hook.MaxInFlight,
		ExtraCostMax: orNone(c.Calls.MaxExtraCostMicros)}
}

// announcerAddress is where switches are sent for an announcement; empty: nowhere.
func announcerAddress(c *config.Config) string {
	if c.SIP.Advertise != "" {
		return c.SIP.Advertise
	}
	host, _, err := net.SplitHostPort(c.SIP.Listen)
	if ip, bad := netip.ParseAddr(host); err != nil || host == "" || bad == nil && ip.IsUnspecified() {
		return ""
	}
	return c.SIP.Listen
}

func meterConfig(c *config.Config, normalize func(string) string) meter.Config {
	warn := c.Calls.WarnBefore
	if warn == 0 {
		warn = -1 // not at all; the meter's own zero is its default
	}
	return meter.Config{
		Name: c.Instance, Lease: c.Meter.Lease, SweepEvery: c.Meter.SweepEvery, Batch: c.Meter.Batch,
		Slice: c.Calls.Slice, ExtendBefore: c.Calls.ExtendBefore, WarnBefore: warn, HangupBefore: c.Calls.HangupBefore, LostAfter: c.Calls.LostAfter,
		HeartbeatTimeout: c.Calls.HeartbeatTimeout, EndMark: c.Calls.EndMark, Tombstone: c.Calls.Tombstone,
		Normalize: normalize,
	}
}

// orNone turns a configured 0 into -1, which is "none" where a package's own 0
// is its default.
func orNone[T int | int64](n T) T {
	if n == 0 {
		return -1
	}
	return n
}
