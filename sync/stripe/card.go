package stripe

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/stripe/stripe-go/v76"

	"github.com/hmsovereign/ringfence/authz"
)

// ForgetCard takes an account's saved card off its customer at Stripe, where it can be charged no more, then forgets it
// and turns the auto top-up off. Without a saved card it does nothing.
// Errors: ErrNotConfigured, ErrUnavailable, ErrRefused, ledger.ErrUnavailable; it may be repeated.
func (s *Service) ForgetCard(ctx context.Context, account string) error {
	if s.api == nil {
		return ErrNotConfigured
	}
	b, err := s.billing(ctx, account)
	if err != nil || b.Card == "" {
		return err
	}
	if err := s.detach(ctx, b.Card); err != nil {
		return fmt.Errorf("remove the card of account %q: %w", account, err)
	}
	if err := s.ledger.ForgetCard(ctx, account, b.Card); err != nil {
		return err
	}
	s.log.Info("saved card removed", logAccount, account)
	return nil
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

// replaced takes the card off its customer that a newer one has taken the place of. If that fails it stays there unused.
func (s *Service) replaced(ctx context.Context, account, was string) {
	b, err := s.billing(ctx, account)
	if err == nil && b.Card != was {
		err = s.detach(ctx, was)
	}
	if err != nil {
		s.log.Warn("a card that another has taken the place of is kept at Stripe", logAccount, account, "card", was, logError, err)
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
