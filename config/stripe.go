package config

import (
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Stripe sells credit. Without a key the purchase side answers 503.
type Stripe struct {
	Key           Secret `koanf:"key" doc:"Secret or restricted API key (sk_..., rk_...). Empty: nothing is sold"`
	WebhookSecret Secret `koanf:"webhook_secret" doc:"Signing secret of the webhook endpoint (whsec_...)"`
	URL           URL    `koanf:"url" doc:"Another API base, for tests. Empty: Stripe's own"`

	PriceMicros    int64         `koanf:"price_micros" default:"70000" min:"1" max:"1000000000" doc:"Price of a credit (a minute at the base rate) without VAT, in millionths of a euro"`
	Packages       []string      `koanf:"packages" default:"100,500,1000,5000" doc:"Amounts that are offered, in whole minutes; any other between the limits can be bought too"`
	MinMicros      int64         `koanf:"min_micros" default:"5000000" min:"500000" max:"1000000000000" doc:"Smallest purchase without VAT, in millionths of a euro, whole cents"`
	MaxMicros      int64         `koanf:"max_micros" default:"10000000000" min:"500000" max:"1000000000000" doc:"Largest purchase without VAT, in millionths of a euro, whole cents"`
	ReturnOrigins  []string      `koanf:"return_origins" doc:"Sites besides public.url that a purchase may lead back to, such as https://app.example.com"`
	CheckoutOrigin string        `koanf:"checkout_origin" default:"https://checkout.stripe.com" doc:"Site of Stripe's payment page, which the billing page sends browsers to; another one with a domain of your own at Stripe"`
	PollEvery      time.Duration `koanf:"poll_every" default:"60s" min:"1s" max:"24h" doc:"How often Stripe's list of events is read for what no webhook brought"`
	Tax            StripeTax     `koanf:"tax"`
	Usage          StripeUsage   `koanf:"usage"`
}

// StripeTax says which VAT a purchase bears.
type StripeTax struct {
	Mode   string `koanf:"mode" default:"table" in:"table|stripe" doc:"table: the destination country's rate of a table; stripe: Stripe Tax decides"`
	Seller string `koanf:"seller" default:"NL" doc:"Country of the seller (ISO 3166-1 alpha-2), whose customers pay its VAT with or without a VAT ID"`
	File   string `koanf:"file" doc:"Table of rates: lines of country,valid from,percent. Empty: the built-in one of the EU's 27 members"`
}

func (c checker) stripe() {
	s := c.Stripe
	if key := s.Key.Reveal(); c.sound("stripe.key") {
		switch {
		case strings.HasPrefix(key, "pk_"):
			c.fail("stripe.key", "", "is a publishable key, which can sell nothing", "write the secret (sk_...) or a restricted (rk_...) key")
		case strings.HasPrefix(key, "whsec_"):
			c.fail("stripe.key", "", "is a webhook's signing secret", "write the secret (sk_...) or a restricted (rk_...) key")
		case key != "" && !strings.HasPrefix(key, "sk_") && !strings.HasPrefix(key, "rk_"):
			c.fail("stripe.key", "", "is none of Stripe's keys", "write the secret (sk_...) or a restricted (rk_...) key")
		}
	}
	if w := s.WebhookSecret.Reveal(); c.sound("stripe.webhook_secret") {
		for _, prefix := range []string{"sk_", "rk_", "pk_"} {
			if strings.HasPrefix(w, prefix) {
				c.fail("stripe.webhook_secret", "", "is an API key", "write the endpoint's signing secret (whsec_...)")
			}
		}
	}
	c.webURL("stripe.url", s.URL)
	if u, err := url.Parse(string(s.URL)); err == nil && c.sound("stripe.url") && u.Scheme == "http" && !loopbackHost(u.Hostname()) {
		c.fail("stripe.url", s.URL.String(), "would send the key in the clear", "write https, or an address of this machine")
	}
	c.stripeAmounts()
	for _, o := range s.ReturnOrigins {
		c.site("stripe.return_origins", o)
	}
	c.site("stripe.checkout_origin", s.CheckoutOrigin)
	c.country("stripe.tax.seller", s.Tax.Seller)
	c.usage()
}

// site checks an origin: scheme and host.
func (c checker) site(key, o string) {
	if u, err := url.Parse(o); c.sound(key) && (webURL(URL(o)) != nil || err != nil || u.Path != "" && u.Path != "/") {
		c.fail(key, shorten(o), "is not a site", "write scheme and host alone, like https://app.example.com")
	}
}

const microsPerCent = 10_000

func (c checker) stripeAmounts() {
	s := c.Stripe
	for key, n := range map[string]int64{"stripe.min_micros": s.MinMicros, "stripe.max_micros": s.MaxMicros} {
		if c.sound(key) && n%microsPerCent != 0 {
			c.fail(key, strconv.FormatInt(n, 10), "is not a whole number of cents", "write a multiple of 10000")
		}
	}
	if !c.sound("stripe.min_micros", "stripe.max_micros") {
		return
	}
	if s.MinMicros > s.MaxMicros {
		c.fail("stripe.min_micros", strconv.FormatInt(s.MinMicros, 10), "is above stripe.max_micros", "lower it, or raise stripe.max_micros")
		return
	}
	for _, p := range s.Packages {
		n, err := strconv.ParseInt(p, 10, 64)
		switch {
		case !c.sound("stripe.packages", "stripe.price_micros"):
		case err != nil || n <= 0 || n > s.MaxMicros:
			c.fail("stripe.packages", shorten(p), "is not a number of minutes", "write whole minutes, like 500")
		case n*s.PriceMicros < s.MinMicros || n > s.MaxMicros/s.PriceMicros:
			c.fail("stripe.packages", p, "costs less than stripe.min_micros or more than stripe.max_micros", "choose one between the limits")
		}
	}
}
