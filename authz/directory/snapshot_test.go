package directory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/deploy/services"
)

func someEntries(t testing.TB) []Change {
	a, b, n := account("acme"), account("beta"), number("+31850835037", "acme")
	a.Company, a.Tariff = "Müller & Söhne \"<GmbH>\"\nline", "half"
	return []Change{
		{Kind: KindTariff, Key: "half", Rev: 3, Tariff: table(t, halfPrice)},
		{Kind: KindAccount, Key: "acme", Rev: 1, Account: &a},
		{Kind: KindAccount, Key: "beta", Rev: 0, Account: &b},
		{Kind: KindNumber, Key: "+31850835037", Rev: 2, Number: &n},
		{Kind: KindNumber, Key: "+31850835038", Rev: 4},
	}
}

func snapshotOf(t testing.TB, entries []Change) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := writeSnapshot(&b, Position{Gen: "g", N: 4}, entries, epoch); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSnapshotRoundTrip(t *testing.T) {
	entries := someEntries(t)
	image, head, err := readSnapshot(bytes.NewReader(snapshotOf(t, entries)))
	if err != nil {
		t.Fatal(err)
	}
	if image.Position != (Position{Gen: "g", N: 4}) || !head.Saved.Equal(epoch) {
		t.Errorf("position %+v, saved %v", image.Position, head.Saved)
	}
	same := cmp.Comparer(func(a, b *tariff.Table) bool {
		if a == nil || b == nil {
			return a == b
		}
		x, errA := json.Marshal(a)
		y, errB := json.Marshal(b)
		return errors.Join(errA, errB) == nil && bytes.Equal(x, y)
	})
	if diff := cmp.Diff(entries, image.Entries, same, cmp.AllowUnexported(authz.Account{})); diff != "" {
		t.Error(diff)
	}
}

func TestSnapshotDamaged(t *testing.T) {
	whole := snapshotOf(t, someEntries(t))
	for at := range whole {
		flipped := bytes.Clone(whole)
		flipped[at] ^= 0x20
		if _, _, err := readSnapshot(bytes.NewReader(flipped)); !errors.Is(err, ErrSnapshot) {
			t.Errorf("byte %d changed: %v", at, err)
		}
		if _, _, err := readSnapshot(bytes.NewReader(whole[:at])); !errors.Is(err, ErrSnapshot) {
			t.Errorf("cut to %d bytes: %v", at, err)
		}
	}
	lines := strings.SplitAfter(string(whole), "\n")
	for name, c := range map[string]struct{ text, says string }{
		"something else":  {"%PDF-1.4\n", "does not begin as"},
		"a later version": {strings.Replace(string(whole), `"version":1`, `"version":2`, 1), "version 2, want 1"},
		"a longer one":    {string(whole) + "x", "follows the checksum"},
		"a line less":     {lines[0] + strings.Join(lines[2:], ""), ""},
		"a line twice":    {lines[0] + lines[1] + strings.Join(lines[1:], ""), ""},
		"no position":     {strings.Replace(string(whole), `"gen":"g"`, `"gen":""`, 1), "position"},
		"too many":        {strings.Replace(string(whole), `"entries":5`, `"entries":999999999999`, 1), ""},
		"empty":           {"", "unexpected EOF"},
	} {
		if _, _, err := readSnapshot(strings.NewReader(c.text)); !errors.Is(err, ErrSnapshot) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want it to say %q", name, err, c.says)
		}
	}
	boom := errors.New("boom")
	if _, _, err := readSnapshot(io.MultiReader(bytes.NewReader(whole[:len(whole)/2]), failing{boom})); !errors.Is(err, boom) {
		t.Errorf("a failing disk: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func FuzzSnapshot(f *testing.F) {
	whole := snapshotOf(f, someEntries(f))
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(snapshotOf(f, nil))
	f.Add([]byte("{\"format\":\"ringfence directory\",\"version\":1,\"position\":{\"gen\":\"g\",\"n\":0},\"entries\":1}\n{\"kind\":\"account\",\"key\":\"\",\"rev\":1,\"value\":null}\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		image, head, err := readSnapshot(bytes.NewReader(in))
		if err != nil {
			if !errors.Is(err, ErrSnapshot) || len(image.Entries) > 0 {
				t.Errorf("%v, with %d entries", err, len(image.Entries))
			}
			return
		}
		var again bytes.Buffer
		if err := writeSnapshot(&again, image.Position, image.Entries, head.Saved); err != nil {
			t.Fatal(err)
		}
		if _, _, err := readSnapshot(&again); err != nil {
			t.Errorf("what was read cannot be read again once written: %v", err)
		}
		build(image.Entries, nil)
	})
}

// A sidecar that starts while Redis is away serves what the last one knew.
func TestStartWithoutRedis(t *testing.T) {
	s := services.Redis(t, services.AppendOnly())
	file := filepath.Join(t.TempDir(), "directory.snapshot")
	cfg := Config{Poll: 20 * time.Millisecond, Snapshot: file}
	first := startWith(t, onRedis(t, s), cfg)
	first.fill(t, account("acme"))
	ctx := bounded(t)
	if err := first.PutNumber(ctx, revision.Add(1), number("+31850835037", "acme")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "fresh", first.Fresh)
	first.stop()
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != snapshotMode {
		t.Fatal(info, err)
	}
	s.Kill()

	second := startWith(t, onRedis(t, s), cfg)
	eventually(t, "ready without Redis", second.Ready)
	got, ok := second.Account("acme")
	if n, known := second.Number("+31850835037"); !ok || got.Location == nil || !known || n.Account != "acme" || second.Fresh() {
		t.Errorf("acme %+v, number %+v, fresh %t", got, n, second.Fresh())
	}
	if st := second.Status(); st.From != fromSnapshot || st.Snapshot.IsZero() || st.Accounts != 1 || st.Numbers != 1 {
		t.Errorf("status %+v", st)
	}
	s.Start()
	eventually(t, "follows Redis again", second.Fresh)
	second.create(t, account("beta"))

	// Redis comes back with nothing at all: the snapshot knows that this is a loss.
	second.stop()
	if err := s.Client().FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	third := startWith(t, onRedis(t, s), cfg)
	eventually(t, "says what it lost and how to begin anew", func() bool {
		p := third.Status().Problem
		return strings.Contains(p, "lost") && strings.Contains(p, file)
	})
	if !third.has("beta")() {
		t.Error("the snapshot's accounts must stay")
	}
	wantErr(t, third.PutAccount(ctx, revision.Add(1), account("gamma")), ErrLost, "")
}

func TestDamagedSnapshotIsLeftAside(t *testing.T) {
	file := filepath.Join(t.TempDir(), "directory.snapshot")
	if err := os.WriteFile(file, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	rdb := onMini(t)
	a := start(t, rdb)
	a.fill(t, account("acme"))
	b := startWith(t, rdb, Config{Poll: 20 * time.Millisecond, Snapshot: file})
	eventually(t, "loaded from Redis", b.has("acme"))
	eventually(t, "follows it", b.Fresh)
	b.stop()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if image, _, err := readSnapshot(f); err != nil || len(image.Entries) != 1 {
		t.Errorf("the damaged file was not replaced: %v", err)
	}
}

func TestReplaceFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	write := func(text string, err error) error {
		return replaceFile(file, func(w io.Writer) error { _, e := io.WriteString(w, text); return errors.Join(e, err) })
	}
	boom := errors.New("boom")
	if err := write("one", nil); err != nil {
		t.Fatal(err)
	}
	if err := write("tw", boom); !errors.Is(err, boom) {
		t.Error(err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "one" {
		t.Errorf("after a write that failed: %q, %v", got, err)
	}
	if names, _ := filepath.Glob(file + "*"); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
	// What a crash left beside it is no obstacle.
	if err := os.WriteFile(file+".new", []byte("half of something longer"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := write("two", nil); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "two" {
		t.Errorf("%q, %v", got, err)
	}
	if err := replaceFile(filepath.Join(file, "no", "dir"), nil); err == nil {
		t.Error("no error for a directory that is not there")
	}
}

func many(accounts, numbersEach int) []Change {
	entries := make([]Change, 0, accounts*(numbersEach+1))
	for i := range accounts {
		a := account(fmt.Sprintf("account-%06d", i))
		entries = append(entries, Change{Kind: KindAccount, Key: a.ID, Rev: int64(i + 1), Account: &a})
		for j := range numbersEach {
			n := number(fmt.Sprintf("+3185%07d", i*numbersEach+j), a.ID)
			entries = append(entries, Change{Kind: KindNumber, Key: n.E164, Rev: 1, Number: &n})
		}
	}
	return entries
}

// The size that is promised: 100,000 accounts and 200,000 numbers.
func full() *Directory {
	d := New(Config{})
	d.replace(&Image{Position: Position{Gen: "g"}, Entries: many(100_000, 2)}, false)
	return d
}

func TestLookupsDoNotAllocate(t *testing.T) {
	d := New(Config{})
	d.replace(&Image{Position: Position{Gen: "g"}, Entries: many(100, 2)}, false)
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := d.Account("account-000042"); !ok {
			t.Error("account not found")
		}
		if _, ok := d.Number("+31850000042"); !ok {
			t.Error("number not found")
		}
		if !d.Ready() || !d.Fresh() && d.Fresh() {
			t.Error("not ready")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAccount(b *testing.B) {
	d := full()
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, ok := d.Account("account-054321"); !ok {
				b.Fail()
			}
		}
	})
}

func BenchmarkNumber(b *testing.B) {
	d := full()
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, ok := d.Number("+31850123456"); !ok {
				b.Fail()
			}
		}
	})
}

// One change among 100,000 accounts must not copy the others.
func BenchmarkPutAccount(b *testing.B) {
	d := full()
	b.ReportAllocs()
	rev := int64(1 << 40)
	for b.Loop() {
		rev++
		if err := d.PutAccount(b.Context(), rev, account("account-054321")); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReplaceTariffOfAll(b *testing.B) {
	d := full()
	rev := int64(1 << 40)
	for b.Loop() {
		rev++
		if err := d.PutTariff(b.Context(), rev, tariff.Default().WithVersion(rev)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSnapshotWrite(b *testing.B) {
	entries := many(100_000, 2)
	b.ResetTimer()
	for b.Loop() {
		if err := writeSnapshot(io.Discard, Position{Gen: "g"}, entries, epoch); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSnapshotLoad(b *testing.B) {
	text := snapshotOf(b, many(100_000, 2))
	b.SetBytes(int64(len(text)))
	b.ResetTimer()
	for b.Loop() {
		image, _, err := readSnapshot(bytes.NewReader(text))
		if err != nil {
			b.Fatal(err)
		}
		New(Config{}).replace(&image, false)
	}
}

func BenchmarkRedisLoad(b *testing.B) {
	r := newRedis(b, onRedis(b, services.Redis(b)))
	entries := many(100_000, 2)
	if err := r.Replace(b.Context(), func(context.Context) ([]Change, error) { return entries, nil }); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for b.Loop() {
		image, err := r.Load(b.Context())
		if err != nil || len(image.Entries) != len(entries) {
			b.Fatal(len(image.Entries), err)
		}
		New(Config{}).replace(&image, false)
	}
}
