package tariff

import "iter"

// trie finds the rows of all prefixes of a number, shortest first. Its nodes
// lie in one slice, so that 100,000 prefixes are a single object to the garbage
// collector, and a look-up is at most 15 steps.
type trie struct {
	nodes []trieNode
	rows  int
}

type trieNode struct {
	next [10]int32 // by digit; 0: none, since the root is nobody's child
	row  int32     // row + 1; 0: no prefix ends here
}

func newTrie() trie { return trie{nodes: make([]trieNode, 1)} }

// insert returns the row of a prefix of digits, a new one if need be. Rows
// count from 0.
func (t *trie) insert(prefix string) int {
	at := int32(0)
	for i := range len(prefix) {
		digit := prefix[i] - '0'
		next := t.nodes[at].next[digit]
		if next == 0 {
			next = int32(len(t.nodes))
			t.nodes = append(t.nodes, trieNode{})
			t.nodes[at].next[digit] = next
		}
		at = next
	}
	if t.nodes[at].row == 0 {
		t.rows++
		t.nodes[at].row = int32(t.rows)
	}
	return int(t.nodes[at].row) - 1
}

// walk yields the row and length of each prefix of number, shortest first, up to
// the first character that is not a digit.
func (t *trie) walk(number string) iter.Seq2[int, int] {
	return func(yield func(row, length int) bool) {
		at := int32(0)
		for i := 0; ; i++ {
			if row := t.nodes[at].row; row != 0 && !yield(int(row)-1, i) {
				return
			}
			if i == len(number) {
				return
			}
			digit := number[i] - '0'
			if digit > 9 {
				return
			}
			if at = t.nodes[at].next[digit]; at == 0 {
				return
			}
		}
	}
}
