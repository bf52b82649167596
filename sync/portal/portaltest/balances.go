package portaltest

import (
	"context"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"github.com/hmsovereign/ringfence/authz"
	"github.com/hmsovereign/ringfence/authz/credit"
	"github.com/hmsovereign/ringfence/authz/tariff"
	"github.com/hmsovereign/ringfence/sync/portal"
)

// Balances is a balance store: portal.Balances, portal.CallStore and
// portal.Killer. See SetFail.
type Balances struct {
	mu       sync.Mutex
	fail     func(method string) error
	accounts map[string]*authz.Balance
	calls    map[authz.Key]authz.Call
}

// NewBalances makes an empty store.
func NewBalances() *Balances {
	return &Balances{accounts: map[string]*authz.Balance{}, calls: map[authz.Key]authz.Call{}}
}

var (
	_ portal.Balances  = (*Balances)(nil)
	_ portal.CallStore = (*Balances)(nil)
	_ portal.Killer    = (*Balances)(nil)
)

// SetFail has f asked before each call of a method, by its name; an error is
// what the method gives. nil asks nobody.
func (s *Balances) SetFail(f func(method string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

func (s *Balances) enter(ctx context.Context, method string) (func(), error) {
	s.mu.Lock()
	err := ctx.Err()
	if err != nil {
		err = fmt.Errorf("%s: %w: %w", method, authz.ErrDown, err)
	} else if s.fail != nil {
		err = s.fail(method)
	}
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	return s.mu.Unlock, nil
}

func (s *Balances) account(id string) (*authz.Balance, error) {
	b, ok := s.accounts[id]
	if !ok {
		return nil, fmt.Errorf("account %s: %w", id, authz.ErrLost)
	}
	return b, nil
}

// OpenAccount makes an account.
func (s *Balances) OpenAccount(ctx context.Context, account string, status authz.AccountStatus, day int64) error {
	leave, err := s.enter(ctx, "OpenAccount")
	if err != nil {
		return err
	}
	defer leave()
	if _, ok := s.accounts[account]; !ok {
		s.accounts[account] = &authz.Balance{Day: day, Suspended: status != authz.Active}
	}
	return nil
}

// SetStatus suspends or resumes an account.
func (s *Balances) SetStatus(ctx context.Context, account string, status authz.AccountStatus) error {
	leave, err := s.enter(ctx, "SetStatus")
	if err != nil {
		return err
	}
	defer leave()
	b, err := s.account(account)
	if err == nil {
		b.Suspended = status != authz.Active
	}
	return err
}

// Grant applies a grant.
func (s *Balances) Grant(ctx context.Context, account string, number int64, units credit.Units) (bool, error) {
	leave, err := s.enter(ctx, "Grant")
	if err != nil {
		return false, err
	}
	defer leave()
	b, err := s.account(account)
	switch {
	case err != nil:
		return false, err
	case number <= b.GrantSeq:
		return false, nil
	case number > b.GrantSeq+1:
		return false, fmt.Errorf("grant %d follows %d", number, b.GrantSeq)
	}
	b.GrantSeq, b.Available, b.Granted, b.Seq = number, b.Available+units, b.Granted+units, b.Seq+1
	return true, nil
}

// Balance reads a balance.
func (s *Balances) Balance(ctx context.Context, account string) (authz.Balance, error) {
	leave, err := s.enter(ctx, "Balance")
	if err != nil {
		return authz.Balance{}, err
	}
	defer leave()
	b, err := s.account(account)
	if err != nil {
		return authz.Balance{}, err
	}
	return *b, nil
}

// Lose forgets an account, as Redis does that lost its data.
func (s *Balances) Lose(account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.accounts, account)
}

// AddCall puts a call in; what it holds is taken out of its account.
func (s *Balances) AddCall(c authz.Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.UID == uuid.Nil {
		c.UID = uuid.New()
	}
	if c.Price.Step == 0 {
		c.Price = tariff.Price{Rate: credit.PerCredit, Initial: 1, Step: 1}
	}
	s.calls[c.Key] = c
	if b := s.accounts[c.Account]; b != nil && (c.State == authz.StateHeld || c.State == authz.StateLive) {
		b.Available, b.Held, b.Calls, b.Seq = b.Available-c.Held, b.Held+c.Held, b.Calls+1, b.Seq+1
	}
}

// Calls goes through an account's calls.
func (s *Balances) Calls(ctx context.Context, account string, fn func(authz.Call, error) error) error {
	leave, err := s.enter(ctx, "Calls")
	if err != nil {
		return err
	}
	defer leave()
	for _, c := range s.calls {
		if c.Account != account {
			continue
		}
		if err := fn(c, nil); err != nil {
			return err
		}
	}
	return nil
}

// Call reads a call.
func (s *Balances) Call(ctx context.Context, account string, k authz.Key) (authz.Call, error) {
	leave, err := s.enter(ctx, "Call")
	if err != nil {
		return authz.Call{}, err
	}
	defer leave()
	c, ok := s.calls[k]
	if !ok || c.Account != account {
		return authz.Call{}, authz.ErrUnknownCall
	}
	return c, nil
}

// Partitions is 2.
func (s *Balances) Partitions() int { return 2 }

// ScanIndex goes through the live calls, all of which are in partition 1.
func (s *Balances) ScanIndex(ctx context.Context, partition int, fn func(authz.Indexed) error) error {
	leave, err := s.enter(ctx, "ScanIndex")
	if err != nil {
		return err
	}
	var found []authz.Indexed
	for k, c := range s.calls {
		if partition == 1 && !c.State.Final() {
			found = append(found, authz.Indexed{Key: k, Account: c.Account, Epoch: c.Epoch})
		}
	}
	leave()
	for _, x := range found {
		if err := fn(x); err != nil {
			return err
		}
	}
	return nil
}

// Find gives a live call's account.
func (s *Balances) Find(ctx context.Context, k authz.Key) (string, error) {
	leave, err := s.enter(ctx, "Find")
	if err != nil {
		return "", err
	}
	defer leave()
	c, ok := s.calls[k]
	if !ok || c.State.Final() {
		return "", authz.ErrUnknownCall
	}
	return c.Account, nil
}

// Kill flags a call for its end.
func (s *Balances) Kill(ctx context.Context, account string, k authz.Key) (authz.Call, error) {
	leave, err := s.enter(ctx, "Kill")
	if err != nil {
		return authz.Call{}, err
	}
	defer leave()
	c, ok := s.calls[k]
	switch {
	case !ok || c.Account != account:
		return c, authz.ErrUnknownCall
	case c.State.Final():
		return c, authz.ErrCallEnded
	}
	c.Flags = c.Flags.With(authz.FlagKilled)
	s.calls[k] = c
	return c, nil
}
