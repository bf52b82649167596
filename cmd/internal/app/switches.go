package app

import (
	"errors"
	"log/slog"

	"github.com/hmsovereign/ringfence/authz/hook/kamailio"
	"github.com/hmsovereign/ringfence/config"
	"github.com/hmsovereign/ringfence/meter"
)

// openSwitch makes the control side of one switch. A new dialect is one more case
// here and one folder under authz/hook.
func openSwitch(s config.Switch, log *slog.Logger) (meter.Switch, error) {
	switch s.Dialect {
	case config.DialectKamailio:
		return kamailio.New(kamailio.Config{Name: s.Name, ControlURL: s.ControlURL.Reveal(), Token: s.Token.Reveal(), Timeout: s.Timeout}, log)
	default:
		return meter.NewHTTPSwitch(meter.HTTPConfig{Name: s.Name, ControlURL: s.ControlURL.Reveal(), Token: s.Token.Reveal(),
			Extends: s.Rearm, Lists: s.List, Heartbeats: s.Heartbeat, Timeout: s.Timeout}, log)
	}
}

// openSwitches makes the control side of every configured switch.
func openSwitches(c *config.Config, log *slog.Logger) (map[string]meter.Switch, error) {
	out := map[string]meter.Switch{}
	var errs []error
	for _, s := range c.Switches {
		sw, err := openSwitch(s, log)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out[s.Name] = sw
	}
	return out, errors.Join(errs...)
}
