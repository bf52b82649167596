package config

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// webURL checks an optional base URL.
func (c checker) webURL(key string, u URL) {
	if u != "" && c.sound(key) {
		if bad := webURL(u); bad != nil {
			c.fail(key, u.String(), bad.problem, bad.remedy)
		}
	}
}

// webURL says what is wrong with a base URL, if anything.
func webURL(raw URL) *badURL {
	u, err := url.Parse(string(raw))
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return &badURL{"is not an http or https URL", "write it like https://host:port/path"}
	case u.User != nil:
		return &badURL{"holds a user or password", "remove it"}
	case u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(string(raw), "?") || strings.HasSuffix(string(raw), "#"):
		return &badURL{"has a query or fragment", "write the base alone, like https://host:port/path"}
	}
	if p := u.Port(); p != "" && !validPort(p) {
		return &badURL{"has no valid port", "write a port from 1 to 65535"}
	}
	return nil
}

func (c checker) sip() {
	s := c.SIP
	if !c.sound("sip.listen") || s.Listen == "" {
		return
	}
	host, port, ok := listen(s.Listen)
	if _, err := netip.ParseAddr(host); !ok || err != nil && host != "" {
		remedy := "write an IP address and a port, such as 127.0.0.1:5092"
		if strings.HasPrefix(strings.ToLower(s.Listen), "udp") || strings.HasPrefix(strings.ToLower(s.Listen), "sip:") {
			remedy += "; it is UDP without saying so"
		}
		c.fail("sip.listen", s.Listen, "is not an address", remedy)
		return
	}
	if host, _, err := net.SplitHostPort(s.Advertise); s.Advertise != "" && (err != nil || host == "" || strings.ContainsAny(s.Advertise, " /<>;?@\"")) {
		c.fail("sip.advertise", s.Advertise, "is not host:port", "write the host and port by which switches reach the announcer, such as 192.0.2.7:5092")
	} else if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		c.fail("sip.advertise", s.Advertise, "is no address that a switch can call", "write the one by which switches reach this host")
	}
	if c.sound("sip.peers") && len(s.Peers) == 0 {
		c.fail("sip.peers", "", "is empty, so nobody could ask for an announcement",
			`name the switches' networks, or set sip.listen to ""`)
	}
	if !c.sound("sip.rtp_ports", "sip.max_announcements") {
		return
	}
	if s.RTPPorts.Low < 1024 {
		c.fail("sip.rtp_ports", s.RTPPorts.String(), "begins among the privileged ports", "begin at 1024 or above")
	}
	if port != 0 && s.RTPPorts.Contains(port) {
		c.fail("sip.rtp_ports", s.RTPPorts.String(), "holds the port of sip.listen", "choose ports without it")
	}
	// RTP takes the even ports (RFC 3550, 11).
	if even := s.RTPPorts.High/2 - (s.RTPPorts.Low-1)/2; even < s.MaxAnnouncements {
		c.fail("sip.rtp_ports", s.RTPPorts.String(), "has fewer even ports than sip.max_announcements",
			"widen the range or lower sip.max_announcements")
	}
}

func (c checker) redis() {
	r := c.Redis
	if !c.sound("redis.url") {
		return
	}
	var user *url.Userinfo // its methods answer for nil
	if r.URL != "" {
		var bad *badURL
		if user, bad = redisURL(string(r.URL)); bad != nil {
			c.fail("redis.url", r.URL.String(), bad.problem, bad.remedy)
			return
		}
	}
	_, inURL := user.Password()
	for _, given := range []struct {
		key        string
		set, twice bool
	}{
		{"redis.username", r.Username != "", user.Username() != ""},
		{"redis.password", r.Password != "", inURL},
	} {
		switch {
		case !given.set || !c.sound(given.key):
		case r.URL == "":
			c.fail(given.key, "", "is set, but redis.url is not, and the embedded Redis has no users", "set redis.url too, or remove it")
		case given.twice:
			c.fail(given.key, "", "is also in redis.url", "keep one of them")
		}
	}
}

func (c checker) ledger() {
	if l := c.Ledger; l.URL != "" && c.sound("ledger.url") {
		if bad := ledgerURL(string(l.URL)); bad != nil {
			c.fail("ledger.url", l.URL.String(), bad.problem, bad.remedy)
		}
	}
}
