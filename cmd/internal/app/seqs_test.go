package app

import "testing"

// An account goes back by any number of changes, even one: it is noticed by the first answer, and told once.
func TestSeqsWentBack(t *testing.T) {
	for _, by := range []int64{1, 2, 255, 256, 257, 100_000} {
		var s seqs
		const high = 1_000_000
		for seq := int64(high - 3); seq <= high; seq++ {
			if s.back("acct", s.seen("acct"), seq) {
				t.Errorf("going forward to %d counts as going back", seq)
			}
		}
		if s.back("other", s.seen("other"), 1) {
			t.Error("another account's seq counts")
		}
		before := s.seen("acct")
		if !s.back("acct", before, high-by) {
			t.Errorf("back by %d is not noticed", by)
		}
		if s.back("acct", before, high-by) {
			t.Errorf("back by %d is told twice", by)
		}
		if s.back("acct", s.seen("acct"), high-by+1) {
			t.Error("going on from there counts as going back")
		}
		rebuilt := int64(1_700_000_000_000_000)
		if s.back("acct", s.seen("acct"), rebuilt) || s.seen("acct") != rebuilt {
			t.Errorf("a rebuilt account is at %d, want %d", s.seen("acct"), rebuilt)
		}
	}
}

// Answers overtake each other: one that was asked for before a later one was seen says nothing.
func TestSeqsOvertaken(t *testing.T) {
	var s seqs
	s.back("acct", 0, 10)
	before := s.seen("acct")
	s.back("acct", before, 12) // asked later, answered first
	if s.back("acct", before, 11) {
		t.Error("an answer that was overtaken counts as going back")
	}
	if s.seen("acct") != 12 {
		t.Errorf("seen is %d, want 12", s.seen("acct"))
	}
	if s.back("acct", 12, 0) {
		t.Error("an answer without a seq counts")
	}
}
