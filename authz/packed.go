package authz

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
)

// A call is one packed field of its account's hash, tab-separated text:
//
//	1<state> held until flags epoch answered answered_switch proof over ended_switch charged extra_micros  <tail>
//
// where the times are milliseconds after the tail's created_at (empty: not
// known), and what is mostly 0 is empty then, so that a live call stays small. The tail never changes:
//
//	created expires uid hash rate,connect,initial,step,micros_rate,micros_connect,credit_price max_seconds  <detail>
//
// The scripts in authz/balance read and write the same text. An end-mark is
// "1m<TAB>until", or "1m<TAB>until<TAB>before" where it bars only requests made up
// to a time.
const headFields = 12

// AppendTail writes the unchanging part of a call.
func (c *Call) AppendTail(b []byte) []byte {
	i := func(n int64, sep byte) {
		b = strconv.AppendInt(b, n, 10)
		b = append(b, sep)
	}
	some := func(n int64, sep byte) {
		if n != 0 {
			b = strconv.AppendInt(b, n, 10)
		}
		b = append(b, sep)
	}
	i(c.CreatedAt, '\t')
	i(c.ExpiresAt-c.CreatedAt, '\t')
	b = base64.RawURLEncoding.AppendEncode(b, c.UID[:])
	b = append(b, '\t')
	b = append(b, c.Hash...)
	b = append(b, '\t')
	p := &c.Price
	i(int64(p.Rate), ',')
	some(int64(p.Connect), ',')
	i(p.Initial, ',')
	i(p.Step, ',')
	i(int64(p.MicrosRate), ',')
	some(int64(p.MicrosConnect), ',')
	i(int64(p.CreditPrice), '\t')
	some(c.MaxSeconds, '\t')
	return c.Detail.Append(b)
}

// ParseTail reads what AppendTail wrote into c.
func (c *Call) ParseTail(s string) error {
	f := strings.SplitN(s, "\t", 7)
	if len(f) != 7 {
		return fmt.Errorf("call tail has %d fields, want 7", len(f))
	}
	var errs []error
	num := func(s, what string) int64 {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			errs = append(errs, fmt.Errorf("call tail: %s %q is not a number", what, s))
		}
		return n
	}
	some := func(s, what string) int64 {
		if s == "" {
			return 0
		}
		return num(s, what)
	}
	c.CreatedAt = num(f[0], "created_at")
	c.ExpiresAt = c.CreatedAt + num(f[1], "expires")
	var err error
	if c.UID, err = ParseUID(f[2]); err != nil {
		errs = append(errs, err)
	}
	c.Hash = f[3]
	p := strings.Split(f[4], ",")
	if len(p) != 7 {
		return errors.Join(append(errs, fmt.Errorf("call tail: price %q has %d parts, want 7", f[4], len(p)))...)
	}
	c.Price = tariff.Price{
		Rate: credit.Units(num(p[0], "rate")), Connect: credit.Units(some(p[1], "connect")),
		Initial: num(p[2], "initial"), Step: num(p[3], "step"),
		MicrosRate: credit.Micros(num(p[4], "micros_rate")), MicrosConnect: credit.Micros(some(p[5], "micros_connect")),
		CreditPrice: credit.Micros(num(p[6], "credit_price")),
	}
	if c.Price.Initial < 1 || c.Price.Step < 1 {
		errs = append(errs, fmt.Errorf("call tail: increments %d/%d must be at least 1", c.Price.Initial, c.Price.Step))
	}
	c.MaxSeconds = some(f[5], "max_seconds")
	if c.Detail, err = ParseDetail(f[6]); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// ParseCall reads a packed call field. For an end-mark only State,
// ExpiresAt and CreatedAt (the latest request it bars; 0 = all) are set.
func ParseCall(account string, k Key, s string) (Call, error) {
	c := Call{Key: k, Account: account}
	if mark, ok := strings.CutPrefix(s, "1m\t"); ok {
		until, before, limited := strings.Cut(mark, "\t")
		var err, err2 error
		c.State = StateMark
		c.ExpiresAt, err = strconv.ParseInt(until, 10, 64)
		if limited {
			c.CreatedAt, err2 = strconv.ParseInt(before, 10, 64)
		}
		if err != nil || err2 != nil {
			return Call{}, fmt.Errorf("end-mark %q is not of numbers", mark)
		}
		return c, nil
	}
	f := strings.SplitN(s, "\t", headFields+1)
	if len(f) != headFields+1 || len(f[0]) != 2 || f[0][0] != '1' {
		return Call{}, fmt.Errorf("packed call %.40q is not of version 1 with %d fields", s, headFields+1)
	}
	c.State = State(f[0][1])
	switch c.State {
	case StateHeld, StateLive, StateSettled, StateReleased, StateLost, StateRejected:
	default:
		return Call{}, fmt.Errorf("packed call has unknown state %q", f[0][1:])
	}
	if err := c.ParseTail(f[headFields]); err != nil {
		return Call{}, err
	}
	var errs []error
	num := func(i int, base int64) int64 {
		if f[i] == "" {
			return 0
		}
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			errs = append(errs, fmt.Errorf("packed call: field %d %q is not a number", i, f[i]))
		}
		return base + n
	}
	c.Held = credit.Units(num(1, 0))
	c.UntilMS = num(2, 0)
	c.Flags = Flags(f[3])
	c.Epoch = num(4, 0)
	c.AnsweredAt = num(5, c.CreatedAt)
	c.AnsweredSwitch = num(6, c.CreatedAt)
	c.ProofAt = num(7, c.CreatedAt)
	c.OverAt = num(8, c.CreatedAt)
	c.EndedSwitch = num(9, c.CreatedAt)
	c.Charged = credit.Units(num(10, 0))
	c.ExtraMicros = credit.Micros(num(11, 0))
	return c, errors.Join(errs...)
}

// AppendCall writes the packed form of a call, as the scripts do.
func (c *Call) AppendCall(b []byte) []byte {
	if c.State == StateMark {
		b = strconv.AppendInt(append(b, "1m\t"...), c.ExpiresAt, 10)
		if c.CreatedAt != 0 {
			b = strconv.AppendInt(append(b, '\t'), c.CreatedAt, 10)
		}
		return b
	}
	b = append(b, '1', byte(c.State), '\t')
	i := func(n int64) { b = append(strconv.AppendInt(b, n, 10), '\t') }
	some := func(n int64) {
		if n != 0 {
			b = strconv.AppendInt(b, n, 10)
		}
		b = append(b, '\t')
	}
	at := func(t int64) {
		if t != 0 {
			b = strconv.AppendInt(b, t-c.CreatedAt, 10)
		}
		b = append(b, '\t')
	}
	i(int64(c.Held))
	i(c.UntilMS)
	b = append(append(b, c.Flags...), '\t')
	i(c.Epoch)
	at(c.AnsweredAt)
	at(c.AnsweredSwitch)
	at(c.ProofAt)
	at(c.OverAt)
	at(c.EndedSwitch)
	some(int64(c.Charged))
	some(int64(c.ExtraMicros))
	return c.AppendTail(b)
}
