package main

import (
	"errors"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/hmsovereign/ringfence/cmd/internal/demo"
)

type demoCmd struct {
	For     time.Duration `placeholder:"DURATION" help:"End by itself after so long, such as 20s (at least 16s), with a summary whose sums add up. Without it the demo runs until it is interrupted."`
	Verbose bool          `short:"v" help:"Show the sidecar's own log on standard error."`
}

// Run shows the demo.
func (d *demoCmd) Run(c *console) error {
	if d.For < 0 {
		return errors.New("--for must be above zero, such as 20s")
	}
	opt := demo.Options{For: d.For, Out: c.out}
	if f, ok := c.out.(*os.File); ok {
		opt.Colour = term.IsTerminal(int(f.Fd()))
	}
	if d.Verbose {
		opt.Verbose = c.err
	}
	return demo.Run(c.ctx, opt)
}
