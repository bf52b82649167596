package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/hmsovereign/ringfence/cmd/internal/app"
	"github.com/hmsovereign/ringfence/cmd/internal/cli"
)

type reconcileCmd struct {
	Account string `placeholder:"ID" help:"Only this account."`
	Repair  bool   `help:"Put right what differs: Redis becomes what the ledger and the calls in progress say. The log names the cause."`
	remote
}

// Help is shown by ringfence reconcile --help.
func (*reconcileCmd) Help() string {
	return `For each account: what was granted, settled, held and is available in Redis, against the ledger with the outbox read to its
end. A difference is explained call by call. Exit code 1 if anything differs and was not repaired.

  ringfence reconcile
  ringfence reconcile --account acme --repair`
}

// Run compares.
func (k *reconcileCmd) Run(c *console) error {
	client, err := k.Client()
	if err != nil {
		return err
	}
	path := "reconcile?" + query("account", k.Account, "repair", fmt.Sprint(k.Repair)).Encode()
	if k.JSON {
		return client.Stream(c.ctx, http.MethodPost, path, c.out)
	}
	wrong := 0
	end, err := lines(c, client, path, func(l *app.Line) {
		f := l.Finding
		if f == nil {
			return
		}
		switch {
		case f.Busy:
			fmt.Fprintf(c.out, "%s: did not hold still long enough to be compared; try again\n", f.Account)
			return
		case f.OK():
			fmt.Fprintf(c.out, "%s: in order\n", f.Account)
			return
		}
		if !f.Fixed {
			wrong++
		}
		if f.Unproven > 0 {
			fmt.Fprintf(c.out, "%s: the end of %d calls cannot be proven%s\n", f.Account, f.Unproven, map[bool]string{true: "; accepted", false: ""}[f.Fixed])
		}
		fmt.Fprintf(c.out, "%s: available differs by %d units (settled %d, granted %d, held %d)%s\n", f.Account, f.Drift, f.Settled, f.Granted, f.Held,
			map[bool]string{true: "; repaired", false: ""}[f.Fixed])
		for _, cause := range f.Causes {
			if cause.Call != "" {
				fmt.Fprintf(c.out, "  call %s (%s): ", cause.Call, cause.Key)
			} else {
				fmt.Fprint(c.out, "  ")
			}
			fmt.Fprintf(c.out, "%s (%d units)\n", cause.What, cause.Units)
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%d accounts compared, %d differ\n", end.Count, wrong)
	if wrong > 0 {
		return errShown
	}
	return nil
}

type rebuildCmd struct {
	remote
}

// Help is shown by ringfence rebuild --help.
func (*rebuildCmd) Help() string {
	return `Writes every account that Redis lacks from the ledger; what is there stays. It happens by itself when Redis has lost
something: this command does it now and shows how far it is. Two at once do not add up.`
}

// Run rebuilds.
func (k *rebuildCmd) Run(c *console) error {
	client, err := k.Client()
	if err != nil {
		return err
	}
	if k.JSON {
		return client.Stream(c.ctx, http.MethodPost, "rebuild", c.out)
	}
	end, err := lines(c, client, "rebuild", func(l *app.Line) {
		if l.Of > 0 {
			fmt.Fprintf(c.err, "%d of %d accounts\n", l.Done, l.Of)
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%d accounts were missing and have been written from the ledger\n", end.Count)
	return nil
}

// lines reads a streamed answer line by line, as it comes, and gives the last.
func lines(c *console, client *cli.Client, path string, each func(*app.Line)) (app.Line, error) {
	var last app.Line
	w := &lineWriter{fn: func(b []byte) error {
		var l app.Line
		if err := json.Unmarshal(b, &l); err != nil {
			return fmt.Errorf("the sidecar's answer is not understood: %w", err)
		}
		if l.End {
			last = l
			return nil
		}
		each(&l)
		return nil
	}}
	if err := client.Stream(c.ctx, http.MethodPost, path, w); err != nil {
		return last, err
	}
	switch {
	case !last.End:
		return last, fmt.Errorf("the answer broke off before its end; try again")
	case last.Error != "":
		return last, fmt.Errorf("after %d accounts: %s", last.Count, last.Error)
	}
	return last, nil
}

// lineWriter gives what is written to fn, a line at a time.
type lineWriter struct {
	fn   func([]byte) error
	rest []byte
}

// Write takes a part of the text.
func (w *lineWriter) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		line, rest, ok := bytes.Cut(w.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		if err := w.fn(line); err != nil {
			return 0, err
		}
		w.rest = rest
	}
}
