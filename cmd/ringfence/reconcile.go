package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/hmsovereign/ringfence/cmd/internal/app"
	"github.com/hmsovereign/ringfence/cmd/internal/cli"
	"github.com/hmsovereign/ringfence/sync/reconcile"
)

type reconcileCmd struct {
	Account string `placeholder:"ID" help:"Only this account."`
	Repair  bool   `help:"Put right what differs: Redis becomes what the ledger and the calls in progress say. The log names the cause."`
	remote
}

// Help is shown by ringfence reconcile --help.
func (*reconcileCmd) Help() string {
	return `For each account: what was granted, settled, held and is available in Redis, against the ledger with the outbox read to its
end; and the ledger's own sums against its rows. A difference is explained call by call. Exit code 1 if anything differs and was
not repaired, or an account could not be compared at all.

--repair makes Redis what the ledger says, and logs the cause. Only where Redis has charged a call whose record is nowhere is
the ledger completed instead: by an adjustment with the reference reconcile:CALL_UID:STATE, which names the call.

  ringfence reconcile
  ringfence reconcile --account acme --repair`
}

// Run compares.
func (k *reconcileCmd) Run(c *console) error {
	client, err := k.Client()
	if err != nil {
		return err
	}
	show := func(f *reconcile.Finding) { fmt.Fprint(c.out, found(f)) }
	raw := io.Discard
	if k.JSON {
		show, raw = func(*reconcile.Finding) {}, c.out
	}
	wrong, busy := 0, 0
	path := "reconcile?" + query("account", k.Account, "repair", fmt.Sprint(k.Repair)).Encode()
	end, err := lines(c, client, path, raw, func(l *app.Line) {
		if l.Finding == nil {
			return
		}
		switch {
		case l.Finding.Busy:
			busy++
		case !l.Finding.OK() && !l.Finding.Fixed:
			wrong++
		}
		show(l.Finding)
	})
	if err != nil {
		return err
	}
	if !k.JSON {
		text := fmt.Sprintf("%d accounts compared, %d differ", end.Count, wrong)
		if busy > 0 {
			text += fmt.Sprintf(", %d could not be compared", busy)
		}
		fmt.Fprintln(c.out, text)
	}
	if wrong > 0 || busy > 0 {
		return errShown
	}
	return nil
}

// found tells of one account.
func found(f *reconcile.Finding) string {
	var b strings.Builder
	repaired := map[bool]string{true: "; repaired", false: ""}[f.Fixed]
	switch {
	case f.Busy:
		fmt.Fprintf(&b, "%s: not compared: %s; try again\n", f.Account, f.Why)
		return b.String()
	case f.OK():
		return f.Account + ": in order\n"
	}
	if f.Unproven > 0 {
		fmt.Fprintf(&b, "%s: the end of %d calls cannot be proven%s\n", f.Account, f.Unproven, map[bool]string{true: "; accepted", false: ""}[f.Fixed])
	}
	if f.Lost {
		fmt.Fprintf(&b, "%s: Redis does not have it%s\n", f.Account, repaired)
	} else if f.Drift != 0 || f.Settled != 0 || f.Granted != 0 || f.Held != 0 || f.Behind {
		fmt.Fprintf(&b, "%s: available differs by %d units (settled %d, granted %d, held %d)%s\n", f.Account, f.Drift, f.Settled, f.Granted, f.Held, repaired)
	} else if f.Unproven == 0 {
		fmt.Fprintf(&b, "%s: the ledger is not at one with itself%s\n", f.Account, repaired)
	}
	for _, cause := range f.Causes {
		b.WriteString("  ")
		switch {
		case cause.Call != "" && cause.Key != "":
			fmt.Fprintf(&b, "call %s (%s): ", cause.Call, cause.Key)
		case cause.Call != "":
			fmt.Fprintf(&b, "call %s: ", cause.Call)
		case cause.Key != "":
			fmt.Fprintf(&b, "call %s: ", cause.Key)
		}
		fmt.Fprintf(&b, "%s (%d units)\n", cause.What, cause.Units)
	}
	for _, entry := range f.Entries {
		fmt.Fprintf(&b, "  adjusting entry written to the ledger: %s\n", entry)
	}
	return b.String()
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
	raw := io.Discard
	if k.JSON {
		raw = c.out
	}
	end, err := lines(c, client, "rebuild", raw, func(l *app.Line) {
		if l.Of > 0 && !k.JSON {
			fmt.Fprintf(c.err, "%d of %d accounts\n", l.Done, l.Of)
		}
	})
	if err != nil {
		return err
	}
	if k.JSON {
		return nil
	}
	fmt.Fprintf(c.out, "%d accounts were missing and have been written from the ledger\n", end.Count)
	return nil
}

// lines reads a streamed answer line by line, as it comes, and gives the last. raw gets it as it is.
func lines(c *console, client *cli.Client, path string, raw io.Writer, each func(*app.Line)) (app.Line, error) {
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
	if err := client.Stream(c.ctx, http.MethodPost, path, io.MultiWriter(raw, w)); err != nil {
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
