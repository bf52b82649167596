package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
)

type versionCmd struct {
	JSON bool `name:"json" help:"As JSON."`
}

// Run prints what the Go toolchain stamped into the binary.
func (v *versionCmd) Run(c *console) error {
	version, revision, changed := "unknown", "unknown", false
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				revision = s.Value
			case "vcs.modified":
				changed = s.Value == "true"
			}
		}
	}
	if v.JSON {
		return json.NewEncoder(c.out).Encode(map[string]any{"version": version, "revision": revision, "modified": changed,
			"go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
	}
	if changed {
		revision += " (modified)"
	}
	_, err := fmt.Fprintf(c.out, "ringfence %s\nrevision %s\n%s %s/%s\n", version, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
