package app

import (
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hmsovereign/ringfence/audio"
	"github.com/hmsovereign/ringfence/audio/announce"
	"github.com/hmsovereign/ringfence/authz/hook"
	"github.com/hmsovereign/ringfence/config"
)

// withRecordings lets the hooks tell what callers of an account hear.
func withRecordings(c hook.Config, prompts *audio.Library) hook.Config {
	c.Recording = func(prompt, account, language string) (string, bool) {
		clip, ok := prompts.Find(audio.Prompt(prompt), account, language)
		if !ok {
			return language, false
		}
		return clip.Language, clip.Account != ""
	}
	return c
}

// openAnnouncer makes the SIP announcer, nil where none is configured.
func openAnnouncer(c *config.Config, prompts *audio.Library, log *slog.Logger, reg prometheus.Registerer) (*announce.Server, error) {
	if c.SIP.Listen == "" {
		return nil, nil
	}
	peers := make([]string, len(c.SIP.Peers))
	for i, p := range c.SIP.Peers {
		peers[i] = p.String()
	}
	s, err := announce.New(announce.Config{Listen: c.SIP.Listen, Advertise: c.SIP.Advertise, Peers: peers, Mode: announce.Mode(c.Audio.Mode), PortMin: c.SIP.RTPPorts.Low,
		PortMax: c.SIP.RTPPorts.High, MaxConcurrent: c.SIP.MaxAnnouncements}, prompts, log, announce.NewMetrics(reg))
	if err != nil {
		return nil, err
	}
	if err := s.Start(); err != nil {
		return nil, fmt.Errorf("sip.listen %q: %w; choose another address, or \"\" for no announcer", c.SIP.Listen, err)
	}
	return s, nil
}
