// Package postgres keeps the ledger in PostgreSQL 14 or newer, through pgx.
//
// Statements are prepared once per connection and cached. Behind PgBouncer in transaction mode, which (before 1.21)
// loses prepared statements, put default_query_exec_mode=exec into the URL. A table's schema is chosen by search_path
// in the URL; all objects belong to one schema.
package postgres
