package authz_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
)

// records are outbox entries as the scripts write them.
var records = []string{
	"s\t3\t1767268849500\t1767268809000\t40500\t41000\t47834\t0\t0\t0\t\t16\t1\tacct-1\tsbc-1:outbound:a@10.0.0.1\t1767268800000\t240000\tAaII62o8fmiUIaS6OpiLtA\tq83vEjRWeJA\t60000,,1,1,70000,,70000\t\t+31850835037\t+31201234567\t\t\t#AZSjsnwRcACAAAEjRWeJqw\tbyok\tdefault@1\t31\tEUR",
	"x\t2\t1767268800000\t\t0\t0\t0\t0\t0\t0\tu\tinsufficient_credits\t1\tacct-1\tsbc-1:inbound:x:y\t1767268800000\t240000\tAaII62o8fmiUIaS6OpiLtA\tq83vEjRWeJA\t60000,,1,1,70000,,70000\t90\t\t\t\t\t\t\t\t\t",
}

// written is a record as the scripts write it.
func written(r authz.Record) string {
	c := authz.Call{UID: r.UID, CreatedAt: r.CreatedAt, ExpiresAt: r.CreatedAt, Price: r.Price, MaxSeconds: r.MaxSeconds, Detail: r.Detail}
	answered := ""
	if r.AnsweredAt != 0 {
		answered = fmt.Sprint(r.AnsweredAt)
	}
	return fmt.Sprintf("%c\t%d\t%d\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%d\t%s\t%s\t%s", r.State, r.Seq, r.At, answered, r.TalkMS, r.Units, r.Micros,
		r.ExtraUnits, r.ExtraMicros, r.Overrun, r.Flags, r.Reason, r.Epoch, r.Account, r.Key, c.AppendTail(nil))
}

func TestRecordComesBackAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := calls(t)
		amount := rapid.Int64Range(0, credit.Max)
		want := authz.Record{State: rapid.SampledFrom([]authz.State{authz.StateSettled, authz.StateLost, authz.StateReleased, authz.StateRejected}).Draw(t, "state"),
			Account: "acct", Key: c.Key, UID: c.UID, Seq: amount.Draw(t, "seq"), Epoch: c.Epoch, At: amount.Draw(t, "at"), AnsweredAt: amount.Draw(t, "answered"),
			TalkMS: amount.Draw(t, "talk"), Units: c.Held, Micros: credit.Micros(amount.Draw(t, "micros")), ExtraUnits: c.Charged, ExtraMicros: c.ExtraMicros,
			Overrun: credit.Units(amount.Draw(t, "overrun")), Flags: c.Flags, Reason: rapid.StringMatching(`[ -~]{0,20}`).Draw(t, "reason"),
			CreatedAt: c.CreatedAt, Price: c.Price, MaxSeconds: c.MaxSeconds, Detail: c.Detail}
		got, err := authz.ParseRecord(written(want))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	})
}

func TestRecordOfTheScripts(t *testing.T) {
	r, err := authz.ParseRecord(records[0])
	if err != nil {
		t.Fatal(err)
	}
	if r.State != authz.StateSettled || r.Charged() != 41_000 || r.DurationSeconds() != 41 || r.Detail.NumberID != "0194a3b2-7c11-7000-8000-0123456789ab" {
		t.Errorf("read as %+v", r)
	}
	if r, err = authz.ParseRecord(records[1]); err != nil || r.AnsweredAt != 0 || r.Key.CallID != "x:y" || r.MaxSeconds != 90 {
		t.Errorf("read as %+v (%v)", r, err)
	}
}

func TestParseRecordRefuses(t *testing.T) {
	good := records[0]
	for what, s := range map[string]string{
		"nothing":            "",
		"a live call":        "l" + good[1:],
		"two letters":        "s" + good,
		"no number":          strings.Replace(good, "41000", "much", 1),
		"no account":         strings.Replace(good, "acct-1", "", 1),
		"no key":             strings.Replace(good, "sbc-1:outbound:", "", 1),
		"an unknown leg":     strings.Replace(good, "outbound", "sideways", 1),
		"a tail cut short":   good[:strings.LastIndexByte(good, '\t')],
		"a uid cut short":    strings.Replace(good, "AaII62o8fmiUIaS6OpiLtA", "AaII62", 1),
		"fields cut short":   "s\t1\t2",
		"an empty increment": strings.Replace(good, ",,1,1,", ",,,1,", 1),
	} {
		if r, err := authz.ParseRecord(s); err == nil {
			t.Errorf("%s: %q was read as %+v", what, s, r)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	for _, s := range records {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := authz.ParseRecord(s)
		if err != nil {
			return
		}
		if r.State.Rank() == 0 || r.Account == "" || r.Key.CallID == "" || r.Price.Initial < 1 || r.Price.Step < 1 {
			t.Fatalf("%q was read as %+v", s, r)
		}
		again, err := authz.ParseRecord(written(r))
		if err != nil {
			t.Fatalf("%q was read, written as %q, and then: %v", s, written(r), err)
		}
		if d := cmp.Diff(r, again); d != "" {
			t.Fatalf("%q:\n%s", s, d)
		}
	})
}
