package app

import (
	"errors"
	"log/slog"

	"github.com/hmsovereign/ringfence/config"
	"github.com/hmsovereign/ringfence/meter"
)

// openSwitches makes the control side of every configured switch. A new
// dialect is one more case here and one folder under authz/hook.
func openSwitches(c *config.Config, log *slog.Logger) (map[string]meter.Switch, error) {
	out := map[string]meter.Switch{}
	var errs []error
	for _, s := range c.Switches {
		sw, err := meter.NewHTTPSwitch(meter.HTTPConfig{Name: s.Name, ControlURL: s.ControlURL.Reveal(), Token: s.Token.Reveal(),
			Extends: s.Rearm, Lists: s.List, Heartbeats: s.Heartbeat, Timeout: s.Timeout}, log)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out[s.Name] = sw
	}
	return out, errors.Join(errs...)
}
