package config

import (
	"net"
	"net/mail"
	"net/netip"
	"time"
)

// Notify says how customers are told of their calls and their credit.
type Notify struct {
	Allow       []netip.Prefix `koanf:"allow" doc:"Networks (CIDR) that customers' webhooks may reach besides public addresses, also without TLS. Meant for tests"`
	HTTP        bool           `koanf:"http" default:"false" doc:"Webhooks may be without TLS"`
	Timeout     time.Duration  `koanf:"timeout" default:"10s" min:"100ms" max:"60s" doc:"Time a customer's endpoint may take to answer"`
	GiveUpAfter time.Duration  `koanf:"give_up_after" default:"24h" min:"1m" max:"168h" doc:"Age at which a message that does not arrive becomes a dead letter"`
	Keep        time.Duration  `koanf:"keep" default:"168h" min:"1h" max:"8760h" doc:"How long delivered messages are kept"`
	KeepDead    time.Duration  `koanf:"keep_dead" default:"720h" min:"1h" max:"8760h" doc:"How long dead letters are kept, for a replay"`
}

// SMTP is the mail server through which customers are told of low credit.
type SMTP struct {
	Server   string        `koanf:"server" doc:"Its host and port, such as mail.example.com:587. Empty: no e-mail"`
	From     string        `koanf:"from" doc:"Sender, such as Billing <billing@example.com>"`
	Username string        `koanf:"username" doc:"User. Empty: none is named"`
	Password Secret        `koanf:"password" doc:"Password of smtp.username"`
	TLS      string        `koanf:"tls" default:"starttls" in:"starttls|tls|none" doc:"starttls: a plain connection is made secure, or nothing is sent; tls: secure from the start; none"`
	Timeout  time.Duration `koanf:"timeout" default:"30s" min:"1s" max:"5m" doc:"Time one e-mail may take"`
}

// smtp checks what belongs together for e-mail.
func (c checker) smtp() {
	s := c.SMTP
	if s.Server == "" {
		if s.Password != "" && c.sound("smtp.server", "smtp.password") {
			c.fail("smtp.server", "", "is empty, but smtp.password is set", "write host:port, or remove the password")
		}
		return
	}
	if c.sound("smtp.server") {
		host, port, err := net.SplitHostPort(s.Server)
		if err != nil || host == "" || port == "" {
			c.fail("smtp.server", s.Server, "is not a host and a port", "write such as mail.example.com:587")
		}
	}
	if _, err := mail.ParseAddress(s.From); err != nil && c.sound("smtp.from") {
		c.fail("smtp.from", s.From, "is not an e-mail address", "write such as Billing <billing@example.com>")
	}
	if s.Password != "" && s.Username == "" && c.sound("smtp.username", "smtp.password") {
		c.fail("smtp.username", "", "is empty, but smtp.password is set", "write the user, or remove the password")
	}
	if s.Username != "" && s.TLS == "none" && c.sound("smtp.tls", "smtp.username") {
		c.fail("smtp.tls", "none", "would send the password in the clear", "write starttls or tls")
	}
}
