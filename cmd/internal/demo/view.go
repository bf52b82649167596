package demo

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hmsovereign/ringfence/authz/credit"
)

// The colours of a terminal.
const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	blue   = "\x1b[36m"
	plain  = "\x1b[0m"
	clear  = "\r\x1b[2K"
)

// view writes what happens, a line each; in a terminal a last line shows the
// balances and live calls as they are now.
type view struct {
	mu     sync.Mutex
	out    io.Writer
	colour bool
	start  time.Time
	status string
}

func (v *view) line(colour, what, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	at := time.Since(v.start).Seconds()
	if !v.colour {
		fmt.Fprintf(v.out, "%5.1fs  %-8s %s\n", at, what, text)
		return
	}
	fmt.Fprintf(v.out, "%s%5.1fs  %s%-8s%s %s\n%s", clear, at, colour, what, plain, text, v.status)
}

// now replaces the last line of a terminal.
func (v *view) now(status string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.colour && status != v.status {
		v.status = status
		fmt.Fprint(v.out, clear, status)
	}
}

// text writes a block as it is.
func (v *view) text(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.colour {
		fmt.Fprint(v.out, clear)
		v.status = ""
	}
	fmt.Fprintf(v.out, format, args...)
}

func credits(units int64) string { return credit.Units(units).Credits() + " credits" }
