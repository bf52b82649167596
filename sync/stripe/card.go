package stripe

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/stripe/stripe-go/v76"

	"github.com/hmsovereign/ringfence/authz"
)

// ForgetCard takes back that an account's saved card may be charged. First the auto top-up is turned off, then the cards
// that Stripe keeps for the customer are taken off it, then the ledger forgets the saved one: whatever comes between, it is
// not charged, and a repetition does the rest. Without a saved card it does nothing.
// Errors: ErrNotConfigured, ErrUnavailable, ErrRefused, ledger.ErrUnavailable.
func (s *Service) ForgetCard(ctx context.Context, account string) error {
	if s.api == nil {
		return ErrNotConfigured
	}
	b, err := s.billing(ctx, account)
	if err != nil || b.Card == "" {
		return err
	}
	if err := s.ledger.WithdrawCard(ctx, account); err != nil {
		return err
	}
	gone, err := s.detachAll(ctx, b.Customer)
	if err != nil {
		return fmt.Errorf("remove the card of account %q: %w", account, err)
	}
	// Stripe has none any more: the ledger is told even if the customer has gone away meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	if err := s.ledger.ForgetCard(ctx, account, append(gone, b.Card)...); err != nil {
		return err
	}
	s.log.Info("saved card removed", logAccount, account)
	return nil
}

// detachAll takes all cards off a customer, those that others have taken the place of, too, and tells which they were.
func (s *Service) detachAll(ctx context.Context, customer string) (gone []string, err error) {
	if customer == "" {
		return nil, nil
	}
	list := s.api.cards.List(&stripe.PaymentMethodListParams{ListParams: all(ctx), Customer: stripe.String(customer), Type: stripe.String("card")})
	for list.Next() {
		gone = append(gone, list.PaymentMethod().ID)
	}
	if err := unlessMissing(translate("list the cards of customer "+customer, list.Err())); err != nil {
		return nil, err
	}
	for _, card := range gone {
		if err := s.detach(ctx, card); err != nil {
			return nil, err
		}
	}
	return gone, nil
}

// detach takes a card off its customer (docs.stripe.com/api/payment_methods/detach); one that is off already is no error.
func (s *Service) detach(ctx context.Context, card string) error {
	_, err := anew(s.cfg.Now(), "card:"+card+":detach", func(key string) (*stripe.PaymentMethod, error) {
		return s.api.cards.Detach(card, &stripe.PaymentMethodDetachParams{Params: post(ctx, key)})
	})
	err = translate("detach "+card, err)
	if !errors.Is(err, ErrRefused) || missing(err) {
		return unlessMissing(err)
	}
	now, read := s.api.cards.Get(card, &stripe.PaymentMethodParams{Params: get(ctx)})
	if read == nil && now.Customer == nil {
		return nil
	}
	return errors.Join(err, unlessMissing(translate("read "+card, read)))
}

func unlessMissing(err error) error {
	if missing(err) {
		return nil
	}
	return err
}

// spare takes a card off its customer that another is kept instead of. If that fails it stays there unused, until the
// customer removes the other.
func (s *Service) spare(ctx context.Context, account string, cards ...string) {
	// Nobody comes back to it: a sidecar that stops finishes it first.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	b, err := s.billing(ctx, account)
	for _, card := range cards {
		if err == nil && card != "" && card != b.Card {
			err = s.detach(ctx, card)
		}
	}
	if err != nil {
		s.log.Warn("a card that another is kept instead of stays at Stripe", logAccount, account, logError, err)
	}
}

func (s *Service) deleteCard(r *http.Request, a *authz.Account) (int, any, error) {
	if err := noParameters(r); err != nil {
		return 0, nil, err
	}
	if err := s.ForgetCard(r.Context(), a.ID); err != nil {
		return 0, nil, err
	}
	b, err := s.billing(r.Context(), a.ID)
	return http.StatusOK, viewBilling(&b, a), err
}
