package directory

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A snapshot file is lines of text:
//
//	{"format":"ringfence directory","version":1,"position":{...},"saved_at":...,"entries":2}
//	{"kind":"account","key":"acme","rev":1,"value":{...}}
//	{"kind":"number","key":"+31850835037","rev":2,"value":{...}}
//	sha256 <hex of all bytes before this line>
const (
	snapshotFormat  = "ringfence directory"
	snapshotVersion = 1
	snapshotLine    = 64 << 20 // a tariff is one line
	snapshotMode    = 0o600    // it holds names, addresses and phone numbers
)

type snapshotHead struct {
	Format   string    `json:"format"`
	Version  int       `json:"version"`
	Position Position  `json:"position"`
	Saved    time.Time `json:"saved_at"`
	Entries  int       `json:"entries"`
}

type snapshotEntry struct {
	Kind  Kind            `json:"kind"`
	Key   string          `json:"key"`
	Rev   int64           `json:"rev"`
	Value json.RawMessage `json:"value,omitempty"`
}

// writeSnapshot writes an image as a snapshot.
func writeSnapshot(w io.Writer, pos Position, entries []Change, at time.Time) error {
	sum := sha256.New()
	b := bufio.NewWriterSize(io.MultiWriter(w, sum), 1<<16)
	lines := json.NewEncoder(b)
	if err := lines.Encode(snapshotHead{snapshotFormat, snapshotVersion, pos, at.UTC(), len(entries)}); err != nil {
		return err
	}
	for i := range entries {
		c := &entries[i]
		v, err := c.value()
		if err != nil {
			return err
		}
		if err := lines.Encode(snapshotEntry{c.Kind, c.Key, c.Rev, json.RawMessage(v)}); err != nil {
			return err
		}
	}
	if err := b.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "sha256 %s\n", hex.EncodeToString(sum.Sum(nil)))
	return err
}

// readSnapshot reads what writeSnapshot wrote. Nothing of a damaged snapshot is
// given. Errors: ErrSnapshot, and those of the reader.
func readSnapshot(r io.Reader) (Image, snapshotHead, error) {
	bad := func(format string, args ...any) (Image, snapshotHead, error) {
		return Image{}, snapshotHead{}, fmt.Errorf("%w: %w", ErrSnapshot, fmt.Errorf(format, args...))
	}
	lines := &lineReader{r: bufio.NewReaderSize(r, 1<<16), sum: sha256.New()}
	line, err := lines.next()
	if err != nil {
		return bad("first line: %w", err)
	}
	var head snapshotHead
	if err := json.Unmarshal(line, &head); err != nil || head.Format != snapshotFormat {
		return bad("it does not begin as a directory snapshot")
	}
	if head.Version != snapshotVersion {
		return bad("version %d, want %d", head.Version, snapshotVersion)
	}
	if head.Position.Gen == "" || head.Position.N < 0 || head.Entries < 0 {
		return bad("first line: position %+v, %d entries", head.Position, head.Entries)
	}
	image := Image{Position: head.Position}
	for i := range head.Entries {
		line, err := lines.next()
		if err != nil {
			return bad("entry %d of %d: %w", i+1, head.Entries, err)
		}
		var e snapshotEntry
		if err := json.Unmarshal(line, &e); err != nil {
			return bad("entry %d: %w", i+1, err)
		}
		if e.Rev < 0 {
			return bad("entry %d: revision %d is negative", i+1, e.Rev)
		}
		c, err := makeChange(e.Kind, e.Key, e.Rev, e.Value)
		if err != nil {
			return bad("entry %d: %w", i+1, err)
		}
		image.Entries = append(image.Entries, c)
	}
	want := "sha256 " + hex.EncodeToString(lines.sum.Sum(nil))
	if line, err = lines.next(); err != nil || string(line) != want {
		return bad("the checksum does not fit")
	}
	if _, err := lines.r.ReadByte(); !errors.Is(err, io.EOF) {
		return bad("something follows the checksum")
	}
	return image, head, nil
}

// lineReader reads lines of bounded length and sums them up.
type lineReader struct {
	r    *bufio.Reader
	sum  hash.Hash
	line []byte
}

// next gives the next line without its end; it is good until the next call.
func (l *lineReader) next() ([]byte, error) {
	l.line = l.line[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		l.sum.Write(part)
		l.line = append(l.line, part...)
		switch {
		case err == nil:
			return l.line[:len(l.line)-1], nil
		case !errors.Is(err, bufio.ErrBufferFull):
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		case len(l.line) > snapshotLine:
			return nil, fmt.Errorf("a line is longer than %d bytes", snapshotLine)
		}
	}
}

// restore loads the snapshot file, if there is one.
func (d *Directory) restore() {
	if d.cfg.Snapshot == "" {
		return
	}
	f, err := os.Open(d.cfg.Snapshot)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var image Image
	var head snapshotHead
	if err == nil {
		image, head, err = readSnapshot(f)
		_ = f.Close() // it was only read
	}
	if err != nil {
		d.log.Error("directory snapshot is left aside; the directory is ready once its source answers",
			"file", d.cfg.Snapshot, "error", err)
		return
	}
	d.replace(&image, false)
	d.state.Lock()
	d.pos, d.from, d.snapshot = image.Position, fromSnapshot, head.Saved
	d.state.Unlock()
	d.met.loads.WithLabelValues("snapshot").Inc()
	d.log.Info("directory restored from its snapshot", "file", d.cfg.Snapshot, "saved", head.Saved, "entries", head.Entries)
}

// keepSnapshots writes a snapshot when there is something new, but not more
// often than Save, and a last one when ctx is done.
func (d *Directory) keepSnapshots(ctx context.Context) {
	if d.cfg.Snapshot == "" {
		return
	}
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
		case <-pause.C:
			select {
			case <-ctx.Done():
			case <-d.unsaved:
				d.save()
				pause.Reset(d.cfg.Save)
				continue
			}
		}
		select {
		case <-d.unsaved:
			d.save()
		default:
		}
		return
	}
}

// save writes the snapshot file anew: beside it first, then in its place.
func (d *Directory) save() {
	// The position comes first: changes after it are in the entries already, or
	// will be asked for again.
	d.state.Lock()
	pos := d.pos
	d.state.Unlock()
	if !d.Ready() || pos.Gen == "" {
		return
	}
	d.mu.RLock()
	entries := d.t.changes()
	d.mu.RUnlock()
	now := time.Now()
	err := replaceFile(d.cfg.Snapshot, func(w io.Writer) error { return writeSnapshot(w, pos, entries, now) })
	if err != nil {
		d.met.saves.WithLabelValues("failed").Inc()
		d.log.Error("directory snapshot is not written; a start without Redis would use the one before",
			"file", d.cfg.Snapshot, "error", err)
		return
	}
	d.met.saves.WithLabelValues("written").Inc()
	d.state.Lock()
	d.snapshot = now
	d.state.Unlock()
}

// replaceFile writes a file so that a crash at any instant leaves the old one
// or the new one.
func replaceFile(name string, write func(io.Writer) error) (err error) {
	dir := filepath.Dir(name)
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, snapshotMode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the error that matters is on its way
		}
	}()
	if err = write(f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), name); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
