package authz_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

var packedKey = authz.Key{Switch: "sbc-1", Direction: authz.Outbound, CallID: "a:b@10.0.0.1"}

// packed are calls as the scripts leave them in Redis.
var packed = []string{
	"1h\t60000\t60000\t\t1\t\t\t\t\t\t\t\t1767268800000\t240000\tAaII62o8fmiUIaS6OpiLtA\tq83vEjRWeJA\t60000,,1,1,70000,,70000\t\t+31850835037\t+31201234567\t\t\t#AZSjsnwRcACAAAEjRWeJqw\tbyok\tdefault@1\t31\tEUR",
	"1l\t120000\t120000\tuk\t12\t9123\t9100\t49200\t\t\t\t\t1767268800000\t240000\tAaII62o8fmiUIaS6OpiLtA\tq83vEjRWeJA\t60000,500,60,6,70000,1,70000\t3600\t+31850835037\t100\t\tsip:100@pbx\tmain\tbyok\tdefault@1\t\tEUR",
	"1s\t0\t0\to\t1\t10\t-20\t10\t49200\t49100\t41000\t5\t1767268800000\t240000\tAaII62o8fmiUIaS6OpiLtA\tq83vEjRWeJA\t60000,,1,1,70000,,70000\t\t\t\t\t\t\t\t\t\t",
	"1x\t0\t0\t\t1\t\t\t\t0\t\t\t\t1767268800000\t240000\tAaII62o8fmiUIaS6OpiLtA\tq83vEjRWeJA\t60000,,1,1,70000,,70000\t\t\t\t\t\t\t\t\t\t",
	"1m\t1767268920000",
	"1m\t1767268920000\t1767268800000",
}

// calls are any that the store can keep.
func calls(t *rapid.T) authz.Call {
	text := rapid.StringMatching(`[ -~é]{0,20}`)
	created := rapid.Int64Range(1, 1<<45).Draw(t, "created")
	after := func(label string) int64 {
		if rapid.Bool().Draw(t, label+" is known") {
			return max(created+rapid.Int64Range(-1<<40, 1<<40).Draw(t, label), 1)
		}
		return 0
	}
	amount := rapid.Int64Range(0, credit.Max)
	number := rapid.OneOf(text, rapid.Custom(func(t *rapid.T) string {
		return uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid")).String()
	}))
	return authz.Call{Key: packedKey, Account: "acct", UID: uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uid")),
		State: rapid.SampledFrom([]authz.State{authz.StateHeld, authz.StateLive, authz.StateSettled, authz.StateReleased, authz.StateLost, authz.StateRejected}).Draw(t, "state"),
		Flags: authz.Flags(rapid.StringMatching(`[a-z]{0,5}`).Draw(t, "flags")), Epoch: amount.Draw(t, "epoch"), Hash: text.Draw(t, "hash"),
		Held: credit.Units(amount.Draw(t, "held")), UntilMS: amount.Draw(t, "until"),
		CreatedAt: created, ExpiresAt: created + rapid.Int64Range(0, 1<<30).Draw(t, "expires"),
		AnsweredAt: after("answered"), AnsweredSwitch: after("answered by the switch"), ProofAt: after("proof"), OverAt: after("over"), EndedSwitch: after("ended"),
		Charged: credit.Units(amount.Draw(t, "charged")), ExtraMicros: credit.Micros(amount.Draw(t, "extra")),
		Price: tariff.Price{Rate: credit.Units(amount.Draw(t, "rate")), Connect: credit.Units(amount.Draw(t, "connect")), Initial: rapid.Int64Range(1, 3600).Draw(t, "initial"),
			Step: rapid.Int64Range(1, 3600).Draw(t, "step"), MicrosRate: credit.Micros(amount.Draw(t, "micros")),
			MicrosConnect: credit.Micros(amount.Draw(t, "micros connect")), CreditPrice: credit.Micros(amount.Draw(t, "credit price"))},
		MaxSeconds: amount.Draw(t, "max"),
		Detail: authz.Detail{From: text.Draw(t, "from"), To: text.Draw(t, "to"), FromRaw: text.Draw(t, "from raw"), ToRaw: text.Draw(t, "to raw"),
			NumberID: number.Draw(t, "number"), Mode: text.Draw(t, "mode"), Tariff: text.Draw(t, "tariff"), Prefix: text.Draw(t, "prefix"), Currency: text.Draw(t, "currency")}}
}

func TestPackedCallComesBackAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := calls(t)
		got, err := authz.ParseCall(want.Account, want.Key, string(want.AppendCall(nil)))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	})
}

func TestPackedCallIsWrittenAsTheScriptsDo(t *testing.T) {
	for _, s := range packed {
		c, err := authz.ParseCall("acct", packedKey, s)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(c.AppendCall(nil)); got != s {
			t.Errorf("written\n%q, the scripts write\n%q", got, s)
		}
	}
}

// TestUUIDsAreKeptShort: each live call is in memory; 13 bytes of it count.
func TestUUIDsAreKeptShort(t *testing.T) {
	for id, want := range map[string]string{
		"0194a3b2-7c11-7000-8000-0123456789ab": "#AZSjsnwRcACAAAEjRWeJqw",
		"0194A3B2-7C11-7000-8000-0123456789AB": "0194A3B2-7C11-7000-8000-0123456789AB", // it must come back as it was
		"main line":                            "main line",
		"#":                                    "#",
		"":                                     "",
	} {
		d := authz.Detail{NumberID: id}
		text := string(d.Append(nil))
		if got := strings.Split(text, "\t")[4]; got != want {
			t.Errorf("number id %q is kept as %q, want %q", id, got, want)
		}
		if back, err := authz.ParseDetail(text); err != nil || back != d {
			t.Errorf("number id %q came back as %q (%v)", id, back.NumberID, err)
		}
	}
}

func TestParseCallRefuses(t *testing.T) {
	good := packed[0]
	for what, s := range map[string]string{
		"nothing":             "",
		"another version":     "2" + good[1:],
		"an unknown state":    "1q" + good[2:],
		"too few fields":      "1h\t1\t2",
		"no number":           strings.Replace(good, "60000", "much", 1),
		"a short uid":         strings.Replace(good, "AaII62o8fmiUIaS6OpiLtA", "AaII62", 1),
		"a price of 6 parts":  strings.Replace(good, ",70000\t", "\t", 1),
		"no initial":          strings.Replace(good, ",,1,1,", ",,0,1,", 1),
		"no step":             strings.Replace(good, ",,1,1,", ",,1,-1,", 1),
		"a detail too long":   good + "\tmore",
		"a mark of no number": "1m\tsoon",
		"a mark of two":       "1m\t1\tsoon",
	} {
		if c, err := authz.ParseCall("acct", packedKey, s); err == nil {
			t.Errorf("%s: %q was read as %+v", what, s, c)
		}
	}
}

func FuzzParseCall(f *testing.F) {
	for _, s := range packed {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := authz.ParseCall("acct", packedKey, s)
		if err != nil {
			return
		}
		text := string(c.AppendCall(nil))
		again, err := authz.ParseCall("acct", packedKey, text)
		if err != nil {
			t.Fatalf("%q was read, written as %q, and then: %v", s, text, err)
		}
		if d := cmp.Diff(c, again); d != "" {
			t.Fatalf("%q:\n%s", s, d)
		}
	})
}
