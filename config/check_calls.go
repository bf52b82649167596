package config

import (
	"fmt"
	"strconv"
	"time"
)

// calls checks the rules between the times of a call.
func (c checker) calls() {
	k := c.Calls
	const slice, extend, warn = "calls.slice", "calls.extend_before", "calls.warn_before"
	if c.sound(slice) && k.Slice%time.Second != 0 {
		c.fail(slice, showDuration(k.Slice), "is not whole seconds", "write whole seconds")
	}
	if c.sound(slice, extend) && k.ExtendBefore >= k.Slice {
		c.fail(extend, showDuration(k.ExtendBefore), "is not less than calls.slice ("+showDuration(k.Slice)+"), so every slice would be extended at once",
			"write less than calls.slice")
	}
	if c.sound(slice, "calls.min_seconds") && time.Duration(k.MinSeconds)*time.Second > k.Slice {
		c.fail("calls.min_seconds", strconv.Itoa(k.MinSeconds), "is more than calls.slice ("+showDuration(k.Slice)+") holds",
			"write at most calls.slice")
	}
	if c.sound(warn, "calls.max_duration") && k.MaxDuration > 0 && k.WarnBefore >= k.MaxDuration {
		c.fail(warn, showDuration(k.WarnBefore), "is not less than calls.max_duration ("+showDuration(k.MaxDuration)+")",
			"write less than calls.max_duration, or 0 for no warning")
	}
	if c.sound("calls.min_seconds", "calls.max_duration") && k.MaxDuration > 0 && time.Duration(k.MinSeconds)*time.Second > k.MaxDuration {
		c.fail("calls.max_duration", showDuration(k.MaxDuration), "is less than calls.min_seconds", "write more, or 0 for no limit")
	}
	if c.sound("calls.heartbeat_every", "calls.heartbeat_timeout") && k.HeartbeatTimeout < 2*k.HeartbeatEvery {
		c.fail("calls.heartbeat_timeout", showDuration(k.HeartbeatTimeout),
			"is less than twice calls.heartbeat_every ("+showDuration(k.HeartbeatEvery)+"), so one lost heartbeat would doubt the call",
			"write at least "+showDuration(2*k.HeartbeatEvery))
	}
	if c.sound("calls.tombstone", "calls.end_mark") && k.Tombstone < k.EndMark {
		c.fail("calls.tombstone", showDuration(k.Tombstone), "is less than calls.end_mark ("+showDuration(k.EndMark)+")",
			"write at least calls.end_mark")
	}
}

// switches checks each switch by itself and their names among each other.
func (c checker) switches() {
	first := make(map[string]int)
	for i, s := range c.Switches {
		at := func(field string) string { return fmt.Sprintf("switches[%d].%s", i, field) }
		if c.sound(at("name")) {
			j, twice := first[s.Name]
			switch {
			case s.Name == "":
				c.fail(at("name"), "", "is missing", nameRemedy)
			case !nameForm.MatchString(s.Name):
				c.fail(at("name"), s.Name, "is not a name", nameRemedy)
			case twice:
				c.fail(at("name"), s.Name, fmt.Sprintf("is also that of switches[%d]", j), "give each switch a name of its own")
			default:
				first[s.Name] = i
			}
		}
		c.webURL(at("control_url"), s.ControlURL)
		if s.Dialect == DialectKamailio && c.sound(at("dialect"), at("heartbeat")) && s.Heartbeat {
			c.fail(at("heartbeat"), "true", "is set, but a Kamailio never sends heartbeats: it lists its calls", "remove it")
		}
		if s.Dialect == DialectKamailio && s.ControlURL == "" && c.sound(at("dialect"), at("control_url")) {
			c.fail(at("control_url"), "", "is missing: a Kamailio is controlled by JSON-RPC", "write such as http://127.0.0.1:5080/rpc")
			continue
		}
		if s.ControlURL != "" || !c.sound(at("control_url")) {
			continue
		}
		for _, need := range []struct {
			field string
			set   bool
		}{{"list", s.List}, {"rearm", s.Rearm}} {
			if need.set && c.sound(at(need.field)) {
				c.fail(at(need.field), "true", "needs a control_url, which is empty", "set control_url, or "+need.field+" to false")
			}
		}
		if s.Token != "" && c.sound(at("token")) {
			c.fail(at("token"), "", "is sent with orders, but control_url is empty", "set control_url, or remove the token")
		}
	}
}
