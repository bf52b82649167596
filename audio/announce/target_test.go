package announce

import (
	"testing"

	"github.com/emiago/sipgo/sip"

	"github.com/hmsovereign/ringfence/audio"
)

func TestParseTarget(t *testing.T) {
	for in, want := range map[string]target{
		"sip:low_credit@127.0.0.1:5092;lang=nl;account=acme": {audio.LowCredit, "nl", "acme", Early, final{480, 31}},
		"sip:low_credit@x;LANG=nl_BE;account=a%20b":          {audio.LowCredit, "nl-be", "a b", Early, final{480, 31}},
		"sip:low_credit@[::1];transport=udp;mode=ANSWER":     {audio.LowCredit, "", "", Answer, final{480, 31}},
		"sip:too_many_calls@x;code=486;cause=42":             {audio.TooManyCalls, "", "", Early, final{486, 42}},
		"sip:too_many_calls@x;code=600;lang=../../etc":       {audio.TooManyCalls, "", "", Early, final{600, 17}},
		"sip:too_many_calls:secret@x?Subject=x":              {audio.TooManyCalls, "", "", Early, final{486, 17}},
		"sip:number_not_in_service@x;cause=-1;code=404":      {audio.NumberNotInService, "", "", Early, final{404, 1}},
	} {
		var uri sip.Uri
		if err := sip.ParseUri(in, &uri); err != nil {
			t.Fatal(err)
		}
		if got, ok := parseTarget(&uri, Early); !ok || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", in, got, ok, want)
		}
	}
}

func TestURI(t *testing.T) {
	for _, account := range []string{"", "acme", "a b;code=603?x=y@z<>\"%41\r\nVia: x", "Zoë/1"} {
		text := URI("127.0.0.1:5092", audio.LowCredit, "nl-be", account)
		var uri sip.Uri
		if err := sip.ParseUri(text, &uri); err != nil {
			t.Fatal(err)
		}
		want := target{audio.LowCredit, "nl-be", account, Early, final{480, 31}}
		if got, ok := parseTarget(&uri, Early); !ok || got != want || uri.Host != "127.0.0.1" || uri.Port != 5092 {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
		}
	}
	if got := URI("[::1]:5092", audio.TooManyCalls, "", ""); got != "sip:too_many_calls@[::1]:5092" {
		t.Errorf("got %s", got)
	}
}

// Every status a URI can ask for has a phrase, and every prompt a final reply
// that could be asked for.
func TestFinalTables(t *testing.T) {
	for status, f := range finalStatus {
		if f.phrase == "" || causeText[f.cause] == "" {
			t.Errorf("%d: %+v", status, f)
		}
	}
	for _, p := range audio.Prompts() {
		if status, cause := FinalReply(p); status < 400 || cause < 1 {
			t.Errorf("%s: %d, %d", p, status, cause)
		}
		if f, ok := finals[p]; !ok || f.phrase() == "" || causeText[f.cause] == "" {
			t.Errorf("%s: %+v", p, f)
		}
	}
}

// Whatever the URI says, the reply is one that ends the call.
func FuzzRequestURI(f *testing.F) {
	f.Add("sip:low_credit@127.0.0.1:5092;lang=nl;account=acme;code=402;cause=21;mode=answer")
	f.Add("sips:too%5Fmany_calls:pw@[::1]:5061;code=999?h=v")
	f.Add("tel:+31850835037;phone-context=x")
	f.Add("sip:insufficient_credits@x;lang=%;;=;cause=12345678901234567890")
	f.Fuzz(func(t *testing.T, s string) {
		var uri sip.Uri
		if sip.ParseUri(s, &uri) != nil {
			return
		}
		got, ok := parseTarget(&uri, Early)
		if !ok {
			return
		}
		if !got.prompt.Known() || got.final.phrase() == "" || got.final.cause < 1 || got.final.cause > 127 ||
			got.mode != Early && got.mode != Answer || len(got.account) > maxParam {
			t.Fatalf("%q becomes %+v", s, got)
		}
		if _, ok := lib.Find(got.prompt, got.account, got.language); !ok {
			t.Fatalf("%q has no recording", s)
		}
	})
}
