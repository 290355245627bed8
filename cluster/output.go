package cluster

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

const (
	maxStream = 4 << 20  // bytes kept of each stream
	maxLine   = 64 << 10 // a longer line is handed on in pieces
)

// output collects what a command prints and hands its lines on.
type output struct {
	mu     sync.Mutex
	line   func(string)
	closed bool
	begin  beginning // of out
	out    stream
	err    stream
}

// stream is one of the two streams of an output.
type stream struct {
	to   *output
	kept bytes.Buffer
	part []byte // of a line whose end has not come yet
}

func newOutput(line func(string)) *output {
	o := &output{line: line}
	o.out.to, o.err.to = o, o
	return o
}

func (o *output) stdout() io.Writer { return &o.out }
func (o *output) stderr() io.Writer { return &o.err }

// Write implements io.Writer. It never fails: what comes too late or is too
// much is dropped, so that the command can go on printing.
func (s *stream) Write(p []byte) (int, error) {
	s.to.mu.Lock()
	defer s.to.mu.Unlock()
	if s.to.closed {
		return len(p), nil
	}
	if s == &s.to.out {
		s.keep(s.to.begin.pass(p))
	} else {
		s.keep(p)
	}
	return len(p), nil
}

func (s *stream) keep(p []byte) {
	s.kept.Write(p[:min(len(p), maxStream-s.kept.Len())])
	if s.to.line != nil {
		s.lines(p)
	}
}

func (s *stream) lines(p []byte) {
	for len(p) > 0 {
		n := bytes.IndexByte(p, '\n')
		if n < 0 {
			s.part = append(s.part, p...)
			p = nil
		} else {
			s.part = append(s.part, p[:n]...)
			p = p[n+1:]
		}
		for len(s.part) > maxLine {
			s.to.line(string(s.part[:maxLine]))
			s.part = append(s.part[:0], s.part[maxLine:]...)
		}
		if n >= 0 {
			s.to.line(strings.TrimSuffix(string(s.part), "\r"))
			s.part = s.part[:0]
		}
	}
}

// finish hands on unfinished lines and ends the collection: the line function
// is not called any more once finish has returned.
func (o *output) finish() Result {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.out.keep(o.begin.rest())
	}
	if !o.closed && o.line != nil {
		for _, s := range []*stream{&o.out, &o.err} {
			if len(s.part) > 0 {
				o.line(string(s.part))
			}
		}
	}
	o.closed = true
	return Result{Stdout: bytes.Clone(o.out.kept.Bytes()), Stderr: bytes.Clone(o.err.kept.Bytes())}
}
