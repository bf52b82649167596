package authz_test

import (
	"strings"
	"testing"

	"github.com/hmsovereign/ringfence/authz"
)

func TestNotice(t *testing.T) {
	text := strings.Replace(strings.Replace(records[0], "s\t", "l\t", 1), "\t16\t", "\tlow\t", 1)
	if !authz.IsNotice(text) || authz.IsNotice(records[0]) || authz.IsNotice("") || authz.IsNotice("l") {
		t.Error("notices are not told from records")
	}
	n, err := authz.ParseNotice(text)
	if err != nil || n.Kind != authz.NoticeLow || n.Account != "acct-1" || n.Left != 41_000 || n.At != 1767268849500 || n.Detail.From != "+31850835037" {
		t.Errorf("read as %+v, %v", n, err)
	}
	if _, err := authz.ParseRecord(text); err == nil {
		t.Error("a notice was read as a record")
	}
	if _, err := authz.ParseNotice(records[0]); err == nil {
		t.Error("a record was read as a notice")
	}
}
