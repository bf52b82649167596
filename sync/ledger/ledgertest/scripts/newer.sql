-- A newer program has migrated.
INSERT INTO ringfence_migrations (version_id, is_applied) VALUES (9999, true);
