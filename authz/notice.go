package authz

import (
	"strings"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz/credit"
)

// NoticeKind is what a [Notice] tells.
type NoticeKind string

// The kinds of notice.
const (
	NoticeAnswered  NoticeKind = "answered"  // the call was answered
	NoticeLow       NoticeKind = "low"       // the account's balance is under Account.AlertBelow
	NoticeExhausted NoticeKind = "exhausted" // the call got less talk time than it asked for: credit runs out
)

// Notice is a line of the outbox about a call that goes on: what a customer may want to hear before its record comes.
// It moves no credit. The script that found it out appends it, only for accounts that want to hear of it
// ([Account].Notify, [Account].AlertBelow).
type Notice struct {
	Kind      NoticeKind
	Account   string
	Key       Key
	UID       uuid.UUID
	At        int64        // when it happened, Unix ms
	Left      credit.Units // about what the account would have left if every call ended then
	CreatedAt int64        // the authorize
	Detail    Detail
}

const noticePrefix = string(StateLive) + "\t"

// IsNotice tells whether the text of an outbox entry is a notice rather than a record.
func IsNotice(s string) bool { return strings.HasPrefix(s, noticePrefix) }

// ParseNotice reads a notice: a record's text with the state l, the kind as its reason and what is left as its units.
func ParseNotice(s string) (Notice, error) {
	r, err := parseLine(s, "l", func(st State) bool { return st == StateLive })
	if err != nil {
		return Notice{}, err
	}
	return Notice{Kind: NoticeKind(r.Reason), Account: r.Account, Key: r.Key, UID: r.UID, At: r.At, Left: r.Units,
		CreatedAt: r.CreatedAt, Detail: r.Detail}, nil
}
