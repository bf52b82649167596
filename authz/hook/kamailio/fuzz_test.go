package kamailio

import (
	"strings"
	"testing"

	"github.com/hmsovereign/ringfence/authz"
)

// FuzzList: whatever answers dlg.list, a listing either fails or consists of legs
// that have a Call-ID and a direction, of dialogs that were all read.
func FuzzList(f *testing.F) {
	for _, d := range []string{talking, ringing, onNet, over, mute, "", "{}", "null", `{"h_entry":1}`, talking + "," + onNet} {
		f.Add(`{"jsonrpc":"2.0","result":[` + d + `],"id":1}`)
		f.Add(`{"jsonrpc":"2.0","result":` + d + `,"id":1}`)
	}
	f.Add(`{"jsonrpc":"2.0","error":{"code":404,"message":"Dialog not found"},"id":1}`)
	f.Add(`{"result":[{"call-id":"x","h_entry":1,"h_id":1,"state":4,"variables":[{"inbound":""},{}]}]}`)
	f.Fuzz(func(t *testing.T, answer string) {
		result, err := parseAnswer(strings.NewReader(answer))
		if err != nil {
			return
		}
		dialogs, err := parseDialogs(result)
		if err != nil {
			return
		}
		living := 0
		for i := range dialogs {
			if err := dialogs[i].check(); err != nil {
				t.Errorf("dialog %d passed: %v", i, err)
			}
			if dialogs[i].State != deleted {
				living++
			}
		}
		legs := keys("edge", dialogs)
		if len(legs) < living || len(legs) > 2*living {
			t.Errorf("%d legs of %d dialogs", len(legs), living)
		}
		for _, k := range legs {
			if k.CallID == "" || k.Switch != "edge" || k.Direction != authz.Inbound && k.Direction != authz.Outbound {
				t.Errorf("leg %+v", k)
			}
		}
	})
}
