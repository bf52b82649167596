UPDATE account_sums SET masked_before = 1764547200000 WHERE account = 'old-without-grants';
