-- Where Kamailio keeps, over a restart, the events that the sidecar has not taken
-- yet: the table of its mqueue "events", for the database that RF_DB names.
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key VARCHAR(64) DEFAULT '' NOT NULL,
    val VARCHAR(4096) DEFAULT '' NOT NULL
);
