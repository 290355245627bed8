// Package pgtest gives tests PostgreSQL databases: empty ones on the server
// that TEST_POSTGRES_URL names (.ci/postgres starts one), and servers of their
// own, which they may kill. Without a server, tests skip and say so.
package pgtest

import (
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver "pgx"
)

// URL is the URL of a new, empty schema that goes with the test.
func URL(t testing.TB) string {
	t.Helper()
	base := setting(t, "TEST_POSTGRES_URL")
	schema := name()
	db := open(t, base)
	run(t, db, `CREATE SCHEMA `+schema)
	t.Cleanup(func() {
		if _, err := db.Exec(`DROP SCHEMA ` + schema + ` CASCADE`); err != nil {
			t.Error(err)
		}
	})
	return with(t, base, func(u *url.URL) {
		q := u.Query()
		q.Set("search_path", schema)
		u.RawQuery = q.Encode()
	})
}

// PgBouncer is the URL of a new, empty database by way of a PgBouncer in
// transaction mode. It stays when the test has ended: PgBouncer keeps its
// connections to it, and has died of losing them.
func PgBouncer(t testing.TB) string {
	t.Helper()
	bouncer := setting(t, "TEST_PGBOUNCER_URL")
	database := name() // a schema would not do: PgBouncer forwards no search_path
	run(t, open(t, setting(t, "TEST_POSTGRES_URL")), `CREATE DATABASE `+database)
	return with(t, bouncer, func(u *url.URL) { u.Path = "/" + database })
}

func setting(t testing.TB, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Skipf("no %s: run the tests as .ci/postgres go test, or set it to the URL of a database that tests may fill", name)
	}
	return value
}

// name is a name that no schema or database has yet.
func name() string { return "test_" + strings.ToLower(rand.Text()) }

func open(t testing.TB, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func run(t testing.TB, db *sql.DB, query string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query); err != nil {
		t.Fatal(err)
	}
}

func with(t testing.TB, base string, change func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	change(u)
	return u.String()
}
