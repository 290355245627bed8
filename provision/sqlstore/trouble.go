package sqlstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"pvebot/provision"
)

// What databases say when they can't work, in people's words.

// explain says in people's words why the database did not do what it was asked
// for, and what helps. Other errors, and *Error, stay as they are.
func (s *Store) explain(err error) error {
	if err == nil {
		return nil
	}
	if _, told := errors.AsType[*provision.Error](err); told {
		return err
	}
	say, try := "", ""
	if s.dir != "" {
		if moved := s.unmoved(); moved != nil && code(err) == sqlite3.SQLITE_CANTOPEN {
			return moved // whichever of its files was asked for first
		}
		say, try = s.sqliteTrouble(err)
	} else {
		say, try = s.postgresTrouble(err)
	}
	if say == "" {
		return err
	}
	return &provision.Error{Kind: provision.Unavailable, Say: say, Try: try, Err: err}
}

// What helps where a disk does not take what is written.
const (
	fullSay    = "the bot can't store anything: the disk is full"
	makeRoom   = "make room on the disk that holds %s (df -h %[1]s); nothing that was taken is lost, and it goes on by itself"
	mountAgain = "see why the disk that holds %s is read-only (dmesg, mount), and mount it for writing; nothing that was taken is lost"
)

func (s *Store) sqliteTrouble(err error) (say, try string) {
	code := code(err)
	file := filepath.Join(s.dir, sqliteFile)
	switch {
	case code == sqlite3.SQLITE_FULL, errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT),
		code == sqlite3.SQLITE_IOERR && s.isFull():
		return fullSay, fmt.Sprintf(makeRoom, s.dir)
	case errors.Is(err, syscall.EROFS), isReadOnly(s.dir) && (code == sqlite3.SQLITE_READONLY || code == sqlite3.SQLITE_IOERR || code == sqlite3.SQLITE_CANTOPEN):
		return "the bot can't store anything: the disk is read-only", fmt.Sprintf(mountAgain, s.dir)
	case code == sqlite3.SQLITE_READONLY, code == sqlite3.SQLITE_PERM, errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return "the bot can't store anything: it may not write to its store",
			fmt.Sprintf("see whom %s and what is in it belong to (ls -la %[1]s), and give it to the user that the bot runs as", s.dir)
	case code == sqlite3.SQLITE_CANTOPEN:
		return "the bot's store can't be opened", fmt.Sprintf("see whether %s is there, and belongs to the user that the bot runs as", file)
	case code == sqlite3.SQLITE_IOERR:
		return "the disk that holds the bot's store fails: " + err.Error(), "look at dmesg; save a copy of " + s.dir + " while it can be read"
	case isDamage(err):
		return "the bot's store is damaged", fmt.Sprintf("stop the bot, move %s away with what begins like it, and restore a backup: `bot store restore FILE`", file)
	case code == sqlite3.SQLITE_BUSY, code == sqlite3.SQLITE_LOCKED:
		return "the bot's store is locked by another program", fmt.Sprintf("see who has it open (fuser -v %s), and end that", file)
	}
	return "", ""
}

// code is SQLite's primary result code, 0 for errors of others.
func code(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

// full is the error of a disk that has no room.
func (s *Store) full(cause error) error {
	return &provision.Error{Kind: provision.Unavailable, Say: fullSay, Try: fmt.Sprintf(makeRoom, s.dir), Err: cause}
}

// isDamage reports whether err says that a file is no whole SQLite database.
func isDamage(err error) bool {
	c := code(err)
	return c == sqlite3.SQLITE_CORRUPT || c == sqlite3.SQLITE_NOTADB
}

// least is what has to be free on the disk: less than that, and what the log of
// the database still takes today it may refuse in a moment.
const least = 1 << 20

// isFull reports whether next to nothing is free where the store is.
func (s *Store) isFull() bool {
	var disk syscall.Statfs_t
	if syscall.Statfs(s.dir, &disk) != nil || disk.Blocks == 0 {
		return false // it does not tell
	}
	return disk.Bavail*uint64(disk.Bsize) < least //nolint:gosec,unconvert // signed on some systems
}

// isReadOnly reports whether a directory is on a disk that takes no writes.
func isReadOnly(dir string) bool {
	const write = 2
	return errors.Is(syscall.Access(dir, write), syscall.EROFS)
}

func (s *Store) postgresTrouble(err error) (say, try string) {
	const server = "look at the log of the PostgreSQL server"
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case e.Code == "53100":
			return "the bot can't store anything: the disk of the database server is full", "make room on it; nothing that was taken is lost, and it goes on by itself"
		case e.Code == "25006":
			return "the bot can't store anything: the database is read-only", "STORE_URL has to name the primary, not a replica, and default_transaction_read_only has to be off there"
		case e.Code == "42501":
			return "the bot may not write to its database: " + e.Message, "give the tables to the user of STORE_URL"
		case e.Code == "53300":
			return "the database takes no more connections", "raise max_connections, or see who has so many open"
		case strings.HasPrefix(e.Code, "28"), e.Code == "3D000":
			return "the database does not let the bot in: " + e.Message, "see whether STORE_URL is right"
		case strings.HasPrefix(e.Code, "58"), e.Code == "XX001", e.Code == "XX002":
			return "the database is damaged, or its disk fails: " + e.Message, server
		case !isOutage(err):
			return "", ""
		}
		return "the database does not work now: " + e.Message, server + "; the bot goes on by itself"
	}
	if !isOutage(err) {
		return "", ""
	}
	return fmt.Sprintf("the database at %s does not answer: %s", s.addr, netReason(err)), "see whether it runs and can be reached from here; the bot goes on by itself"
}

// netReason is the innermost of what a connection failed of.
func netReason(err error) string {
	if no, ok := errors.AsType[syscall.Errno](err); ok {
		return no.Error()
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns.Err
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return "the connection broke"
}

// Where names the store in a sentence.
func (s *Store) Where() string {
	if s.dir != "" {
		return "the store in " + s.dir
	}
	return "the database " + cmp.Or(s.database, "of STORE_URL") + " at " + s.addr
}
