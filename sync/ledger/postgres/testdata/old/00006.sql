INSERT INTO billing (account, company, country, vat_id, vat_status, customer, updated_at) VALUES
    ('old', 'Your Company', 'NL', 'NL123456789B01', 'pending', 'cus_old', '2025-12-13 12:00:00Z');
INSERT INTO purchases (id, account, kind, state, units, net, gross, currency, save_card, success_url, cancel_url, tax, session, intent, invoice, created_at, expires_at, paid_at) VALUES
    ('0193bf8a-8c00-7000-8000-000000000006', 'old', 'checkout', 'paid', 30000000, 35000000, 4235, 'EUR', false, '', '', 'none', 'cs_old', 'pi_old', 'in_old',
     '2025-12-13 12:00:00Z', '2025-12-13 13:00:00Z', '2025-12-13 12:00:00Z');
INSERT INTO invoices (id, account, purchase, number, status, created_at, currency, net, vat, vat_rate, reverse_charge, total, pay_url, pdf_url) VALUES
    ('in_old', 'old', '0193bf8a-8c00-7000-8000-000000000006', 'RF-0001', 'paid', '2025-12-13 12:00:00Z', 'EUR', 3500, 735, 2100, false, 4235, '', '');
