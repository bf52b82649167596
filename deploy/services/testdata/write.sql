CREATE TABLE grants (reference text PRIMARY KEY, units bigint NOT NULL);
INSERT INTO grants VALUES ('pi:1', 30000000);
