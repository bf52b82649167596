// Package journal remembers on disk which calls a sidecar has, and which of its
// charges the ledger may not have yet: so that after a kill that also cost Redis
// its data, the next start can say which calls nobody can prove, and make the
// charges again.
//
// A journal is a file of lines, appended to as things happen and written anew
// when most of it is over; fields are separated by 0x1f:
//
//	ringfence journal 1 running | stopped
//	+ account key call      the call is this sidecar's
//	- key                   it is over, or another's
//	$ uid record            charged, and not known to be in the ledger
//	! uid                   it is
//	~ account key call      was on when an earlier process was killed, and is being looked for
//	? account key call      was looked for in vain: it cannot be proven
//	^ uid                   of one of these two: found, or accepted as it is
//
// It is not synced to the disk: it survives a kill of the process, not a loss of
// power.
package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
)

const (
	head    = "ringfence journal 1 "
	running = head + "running"
	stopped = head + "stopped"
	sep     = "\x1f"
)

// Left is what an earlier process left.
type Left struct {
	Clean    bool                     // it stopped softly
	Calls    map[uuid.UUID]authz.Call // that were on
	Records  map[uuid.UUID]string     // charged, and not known to be in the ledger
	Unproven map[uuid.UUID]authz.Call // found before
	keys     map[authz.Key]uuid.UUID  // of Calls, while it is read
}

// Source says what is in memory, when the journal is written anew.
type Source struct {
	Calls   func() []authz.Call
	Records func() map[uuid.UUID]string
}

// Journal is one sidecar's. Its methods do not wait for the disk.
type Journal struct {
	path string
	log  *slog.Logger
	wake chan struct{}

	mu       sync.Mutex
	buf      []byte
	full     bool
	grown    growth
	sought   map[uuid.UUID]authz.Call
	unproven map[uuid.UUID]authz.Call

	written []byte // the buffer before buf, to be used again; only Run's and Close's, as all below
	file    *os.File
	size    int64
	failed  bool
}

// growth estimates how much of the file says nothing that is still true. While
// calls come and none goes, writing the file anew would not make it smaller.
type growth struct {
	calls, callBytes     int64 // lines of calls, and their size
	records, recordBytes int64
	void                 int64 // bytes that writing anew would save
}

// call notes a line of a call; again: it replaces an earlier line.
func (g *growth) call(n int, again bool) {
	g.calls++
	g.callBytes += int64(n)
	if again {
		g.void += g.callBytes / g.calls
	}
}

// off notes a line which says that a call is over.
func (g *growth) off(n int) { g.void += int64(n) + g.callBytes/max(g.calls, 1) }

func (g *growth) record(n int) {
	g.records++
	g.recordBytes += int64(n)
}

// recorded notes a line which says that the ledger has a record.
func (g *growth) recorded(n int) { g.void += int64(n) + g.recordBytes/max(g.records, 1) }

const (
	bufferMost = 64 << 20 // of lines that wait for the disk
	bufferKept = 1 << 20  // of the buffer, from one write to the next
	grownLeast = 16 << 20 // below it is not written anew

	// linger is how long lines wait for company: under load a write of many costs
	// what a write of one does, and a kill takes no more than this with it.
	linger = 2 * time.Millisecond
)

// Open reads what an earlier process of the instance left in a folder, and
// begins a journal that still has it. Errors: the file cannot be read or written.
func Open(dir, instance string, log *slog.Logger) (*Journal, Left, error) {
	j := &Journal{path: filepath.Join(dir, "calls-"+url.PathEscape(instance)+".journal"), log: log, wake: make(chan struct{}, 1)}
	text, err := os.ReadFile(j.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, Left{}, fmt.Errorf("journal of calls: %w", err)
	}
	left := parse(string(text))
	j.sought, j.unproven = maps.Clone(left.Calls), maps.Clone(left.Unproven)
	if err := j.rewrite(running, nil, left.Records, 0); err != nil {
		return nil, Left{}, fmt.Errorf("journal of calls: %w", err)
	}
	return j, left, nil
}

// parse reads a journal. A last line that was not written to its end is left out.
func parse(text string) Left {
	l := Left{Calls: map[uuid.UUID]authz.Call{}, Records: map[uuid.UUID]string{}, Unproven: map[uuid.UUID]authz.Call{}, keys: map[authz.Key]uuid.UUID{}}
	first, rest, _ := strings.Cut(text, "\n")
	l.Clean = first == stopped
	for rest != "" {
		line, next, whole := strings.Cut(rest, "\n")
		if rest = next; whole {
			l.line(strings.Split(line, sep))
		}
	}
	l.keys = nil
	return l
}

func (l *Left) line(f []string) {
	switch {
	case len(f) == 4 && (f[0] == "+" || f[0] == "~" || f[0] == "?"):
		k, err := authz.ParseKey(f[2])
		if err != nil {
			return
		}
		c, err := authz.ParseCall(f[1], k, f[3])
		switch {
		case err != nil:
		case f[0] == "?":
			delete(l.Calls, c.UID)
			l.Unproven[c.UID] = c
		case f[0] == "+":
			l.keys[k] = c.UID
			l.Calls[c.UID] = c
		default:
			l.Calls[c.UID] = c
		}
	case len(f) == 2 && f[0] == "-":
		if k, err := authz.ParseKey(f[1]); err == nil {
			delete(l.Calls, l.keys[k])
			delete(l.keys, k)
		}
	case len(f) == 3 && f[0] == "$":
		if u, err := uuid.Parse(f[1]); err == nil {
			l.Records[u] = f[2]
		}
	case len(f) == 2 && (f[0] == "!" || f[0] == "^"):
		u, err := uuid.Parse(f[1])
		switch {
		case err != nil:
		case f[0] == "!":
			delete(l.Records, u)
		default:
			delete(l.Calls, u)
			delete(l.Unproven, u)
		}
	}
}

// begin locks the buffer for one line; false: there is no room. It ends with end.
func (j *Journal) begin() bool {
	j.mu.Lock()
	if len(j.buf) < bufferMost {
		return true
	}
	if !j.full {
		j.full = true
		j.log.Error("the disk does not keep up with the journal of calls; lines are lost", "path", j.path)
	}
	return false
}

// end unlocks the buffer, and has what is in it written soon; before is how long it was.
func (j *Journal) end(before int) {
	wake := before == 0 && len(j.buf) > 0
	j.mu.Unlock()
	if wake {
		select {
		case j.wake <- struct{}{}:
		default:
		}
	}
}

// put has a line written soon; noted tells how it makes the file grow.
func (j *Journal) put(noted func(*growth, int), parts ...string) {
	room := j.begin()
	before := len(j.buf)
	if room {
		j.buf = appendLine(j.buf, parts...)
		noted(&j.grown, len(j.buf)-before)
	}
	j.end(before)
}

// putCall has a call's line written soon.
func (j *Journal) putCall(kind byte, c *authz.Call) {
	room := j.begin()
	before := len(j.buf)
	if room {
		j.buf = callLine(j.buf, kind, c)
		j.grown.call(len(j.buf)-before, c.State != authz.StateHeld)
	}
	j.end(before)
}

func appendLine(b []byte, parts ...string) []byte {
	for i, p := range parts {
		if i > 0 {
			b = append(b, sep...)
		}
		b = append(b, p...)
	}
	return append(b, '\n')
}

func callLine(b []byte, kind byte, c *authz.Call) []byte {
	b = append(append(b, kind), sep...)
	b = append(append(b, c.Account...), sep...)
	b = append(c.Key.Append(b), sep...)
	return append(c.AppendCall(b), '\n')
}

// On notes a call that is this sidecar's now, or has changed.
func (j *Journal) On(c *authz.Call) { j.putCall('+', c) }

// Off notes that a call is over, or another's.
func (j *Journal) Off(k authz.Key) { j.put((*growth).off, "-", k.String()) }

// Charged notes a record that the ledger is to get.
func (j *Journal) Charged(uid uuid.UUID, raw string) { j.put((*growth).record, "$", uid.String(), raw) }

// Recorded notes that the ledger has it.
func (j *Journal) Recorded(uid uuid.UUID) { j.put((*growth).recorded, "!", uid.String()) }

// Unproven notes that a call which an earlier process left was sought in vain.
func (j *Journal) Unproven(c *authz.Call) {
	j.mu.Lock()
	delete(j.sought, c.UID)
	j.unproven[c.UID] = *c
	j.mu.Unlock()
	j.putCall('?', c)
}

// Found notes that a call which an earlier process left is accounted for.
func (j *Journal) Found(uid uuid.UUID) {
	j.mu.Lock()
	delete(j.sought, uid)
	delete(j.unproven, uid)
	j.mu.Unlock()
	j.put((*growth).off, "^", uid.String())
}

// Run writes until ctx is done.
func (j *Journal) Run(ctx context.Context, src Source) {
	timer := time.NewTimer(linger)
	defer timer.Stop()
	for {
		j.flush()
		if void := j.void(); j.size > grownLeast && void > j.size/2 {
			if err := j.rewrite(running, src.Calls(), src.Records(), void); err != nil {
				j.fail(err)
			}
		}
		select {
		case <-j.wake:
		case <-ctx.Done():
			return
		}
		timer.Reset(linger)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

func (j *Journal) fail(err error) {
	if !j.failed {
		j.failed = true
		j.log.Error("journal of calls not written: after a kill, calls that were lost cannot be named", "path", j.path, "error", err)
	}
}

// void is how many bytes writing the file anew would save.
func (j *Journal) void() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.grown.void
}

// flush writes what waits.
func (j *Journal) flush() {
	j.mu.Lock()
	lines := j.buf
	j.buf, j.full = j.written[:0], false
	j.mu.Unlock()
	j.written = nil
	if cap(lines) <= bufferKept {
		j.written = lines
	}
	if len(lines) == 0 {
		return
	}
	n, err := j.file.Write(lines)
	j.size += int64(n)
	if err != nil {
		j.fail(err)
	}
}

// rewrite begins the file anew, with what is known. Lines that are put meanwhile
// come after it. void is what it saves.
func (j *Journal) rewrite(first string, calls []authz.Call, records map[uuid.UUID]string, void int64) error {
	b := appendLine(nil, first)
	var grown growth
	for i := range calls {
		before := len(b)
		b = callLine(b, '+', &calls[i])
		grown.call(len(b)-before, false)
	}
	for u, raw := range records {
		before := len(b)
		b = appendLine(b, "$", u.String(), raw)
		grown.record(len(b) - before)
	}
	j.mu.Lock()
	for _, c := range j.sought {
		b = callLine(b, '~', &c)
	}
	for _, c := range j.unproven {
		b = callLine(b, '?', &c)
	}
	grown.void = max(j.grown.void-void, 0)
	j.grown = grown
	j.mu.Unlock()
	f, err := os.CreateTemp(filepath.Dir(j.path), filepath.Base(j.path)+".*")
	if err != nil {
		return err
	}
	_, err = bytes.NewReader(b).WriteTo(f)
	if err == nil {
		err = os.Rename(f.Name(), j.path)
	}
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	if j.file != nil {
		err = j.file.Close()
	}
	j.file, j.size, j.failed = f, int64(len(b)), false
	return err
}

// Close ends the journal, after Run: calls are those that are still on.
func (j *Journal) Close(calls []authz.Call, records map[uuid.UUID]string) error {
	j.mu.Lock()
	j.buf = nil // what it says is in calls and records
	j.mu.Unlock()
	err := j.rewrite(stopped, calls, records, 0)
	return errors.Join(err, j.file.Close())
}

// Abandon closes the file as it is.
func (j *Journal) Abandon() {
	j.flush()
	_ = j.file.Close()
}
