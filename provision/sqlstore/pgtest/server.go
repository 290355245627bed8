package pgtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is a PostgreSQL server of the test's own, on loopback.
type Server struct {
	URL string

	t    testing.TB
	as   *syscall.SysProcAttr
	bin  string
	dir  string
	port int

	options []string // of the server's command line

	process *os.Process     // of the server, nil when it was killed
	ended   <-chan struct{} // is closed when it has ended
}

// Start starts a server that goes with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := install(t)
	s.URL = fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", s.port)
	s.Start()
	t.Cleanup(s.Kill)
	return s
}

// StartTLS is Start of a server that only talks TLS, as localhost. ca is the
// file of the authority that says so. The URL has no sslmode.
func StartTLS(t testing.TB) (s *Server, ca string) {
	t.Helper()
	s = install(t)
	s.URL = fmt.Sprintf("postgres://postgres@localhost:%d/postgres", s.port)
	ca = s.certify("localhost")
	s.write("pg_hba.conf", []byte("hostssl all all 127.0.0.1/32 trust\nhostssl all all ::1/128 trust\n"))
	s.options = []string{"-c", "ssl=on"}
	s.Start()
	t.Cleanup(s.Kill)
	return s, ca
}

// install makes the directory of a server.
func install(t testing.TB) *Server {
	t.Helper()
	initdb, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // where Debian has it
	if err != nil || len(initdb) == 0 {
		t.Skip("no PostgreSQL server is installed")
	}
	slices.Sort(initdb)
	dir, err := os.MkdirTemp("", "pg") // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &Server{t: t, bin: filepath.Dir(initdb[len(initdb)-1]), dir: dir, port: freePort(t)}
	s.as = s.unprivileged()
	if out, err := s.command("initdb", "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	return s
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// unprivileged makes root start the server as somebody else: it refuses to run
// as root.
func (s *Server) unprivileged() *syscall.SysProcAttr {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		s.t.Skip("root can't start PostgreSQL: ", err)
	}
	uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(uidErr, gidErr, os.Chown(s.dir, int(uid), int(gid))); err != nil {
		s.t.Fatal(err)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

func (s *Server) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Dir, cmd.SysProcAttr = s.dir, s.as
	return cmd
}

// Start starts the server again after Kill, and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	var log strings.Builder
	for range 100 { // what a killed server left has to end first
		cmd := s.command("postgres", append([]string{"-D", s.data(), "-h", "localhost", "-p", strconv.Itoa(s.port), "-k", s.dir}, s.options...)...)
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			s.t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		if s.process, s.ended = cmd.Process, ended; s.answers() {
			return
		}
	}
	s.t.Fatalf("PostgreSQL does not come up:\n%s", log.String())
}

// answers waits until the server answers; false: it has ended.
func (s *Server) answers() bool {
	for {
		select {
		case <-s.ended:
			return false
		case <-time.After(20 * time.Millisecond):
		}
		if s.command("pg_isready", "-q", "-h", "127.0.0.1", "-p", strconv.Itoa(s.port)).Run() == nil {
			return true
		}
	}
}

// Kill ends the server as a crash does. A server that was killed is left
// alone.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	_ = s.process.Kill()
	<-s.ended
	s.process = nil
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
