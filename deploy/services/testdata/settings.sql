SHOW fsync;
SHOW max_connections;
