package config

import (
	"regexp"
	"time"
)

// StripeUsage says how talk time is reported to Stripe. It is information: the talk time is paid for already.
type StripeUsage struct {
	Report bool          `koanf:"report" default:"true" doc:"Settled talk time is reported as events of a billing meter, which must have no price above zero"`
	Event  string        `koanf:"event" default:"ringfence_talk_seconds" doc:"Name of the meter's events, whose value is seconds"`
	Settle time.Duration `koanf:"settle" default:"10m" min:"0" max:"24h" doc:"How long after the end of an hour its seconds are reported; what comes later is reported too"`
	Rate   int           `koanf:"rate" default:"10" min:"1" max:"1000" doc:"Requests to Stripe about usage a second, of all sidecars together, at most"`
}

// eventName is what the name of a meter's events looks like; Stripe takes at most 100 characters.
var eventName = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,100}$`)

func (c checker) usage() {
	if e := c.Stripe.Usage.Event; c.sound("stripe.usage.event") && !eventName.MatchString(e) {
		c.fail("stripe.usage.event", shorten(e), "is not a name of events", "write up to 100 letters, digits, _, ., : and -, like ringfence_talk_seconds")
	}
}
