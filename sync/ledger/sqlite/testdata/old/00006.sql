INSERT INTO billing (account, company, country, vat_id, vat_status, customer, updated_at) VALUES
    ('old', 'Your Company', 'NL', 'NL123456789B01', 'pending', 'cus_old', 1765627200000);
INSERT INTO purchases (id, account, kind, state, units, net, gross, currency, save_card, success_url, cancel_url, tax, session, intent, invoice, created_at, expires_at, paid_at) VALUES
    (X'0193bf8a8c0070008000000000000006', 'old', 'checkout', 'paid', 30000000, 35000000, 4235, 'EUR', 0, '', '', 'none', 'cs_old', 'pi_old', 'in_old',
     1765627200000, 1765630800000, 1765627200000);
INSERT INTO invoices (id, account, purchase, number, status, created_at, currency, net, vat, vat_rate, reverse_charge, total, pay_url, pdf_url) VALUES
    ('in_old', 'old', X'0193bf8a8c0070008000000000000006', 'RF-0001', 'paid', 1765627200000, 'EUR', 3500, 735, 2100, 0, 4235, '', '');
