UPDATE account_sums SET masked_before = '2025-12-01 00:00:00Z' WHERE account = 'old-without-grants';
