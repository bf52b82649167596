package ledger

import (
	"time"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz/credit"
)

// noticeStatements are those of webhooks and alerts to customers.
type noticeStatements struct{}

// Webhook is where an account, or one of its numbers, wants to be told.
type Webhook struct {
	Account   string
	NumberID  string // empty: the account's, for all numbers that have none of their own
	URL       string
	Secret    string // signs what is sent
	UpdatedAt time.Time
}

// Alerts is when an account wants to be told that credit runs low.
type Alerts struct {
	Account   string
	Below     credit.Units // balance under which it is; 0: never
	Email     bool         // to the billing address too
	UpdatedAt time.Time
}

// Delivery is one message to a webhook, or one e-mail.
type Delivery struct {
	ID        uuid.UUID
	Account   string
	Endpoint  string // where it goes: a URL, or mailto:ADDRESS
	Topic     string // what it is about and in order of: a call's uid, or empty
	Event     string // status-update, end-of-call-report, balance-low ...
	Body      []byte
	State     string // pending, delivered, dead
	Attempts  int64
	Due       time.Time // when it is tried next
	Error     string    // of the last attempt
	CreatedAt time.Time
	DoneAt    time.Time // delivered or given up; zero: neither
}
