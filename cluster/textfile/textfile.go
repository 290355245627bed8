// Package textfile reads the text files that people write: settings, policies,
// lists, keys. Whatever editor or system a file comes from, what its reader gets
// is UTF-8 without a byte order mark, with "\n" at the end of lines; what is no
// such text is refused with what it is, and what to do. It is the only way by
// which such a file is read, so that all of them take the same.
//
// It knows nothing of what is in the files, and needs nothing but the file system
// to be tested.
package textfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strings"
	"syscall"
	"unicode/utf8"
)

// Most is how many bytes a file may have: what is longer is another file than the
// one that was meant.
const Most = 16 << 20

// Error is what is wrong with a file.
type Error struct {
	File string // "": not known here
	Line int    // from 1 on; 0: the file as a whole
	Say  string // what is wrong
	Try  string // what to do about it; may be ""
	Err  error  // the cause; may be nil
}

func (e *Error) Error() string {
	s := e.Say
	if e.Try != "" {
		s += "; " + e.Try
	}
	switch {
	case e.Line > 0 && e.File != "":
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, s)
	case e.Line > 0:
		return fmt.Sprintf("line %d: %s", e.Line, s)
	case e.File != "":
		return e.File + ": " + s
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// In gives the *Errors that err is, or joins, the name of their file.
func In(name string, err error) error {
	if all, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // what is joined, not what is wrapped
		for _, one := range all.Unwrap() {
			_ = In(name, one)
		}
		return err
	}
	if e, ok := errors.AsType[*Error](err); ok {
		e.File = name
	}
	return err
}

// Read returns the text of a file. Its error is an *Error, and wraps
// fs.ErrNotExist where there is no such file.
func Read(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, unreadable(name, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, Most+1))
	if err != nil {
		return nil, unreadable(name, err)
	}
	text, err := Decode(data)
	if wrong, ok := errors.AsType[*Error](err); ok {
		wrong.File = name
	}
	return text, err
}

// unreadable says in people's words why the system gives no file.
func unreadable(name string, err error) *Error {
	e := &Error{File: name, Err: err}
	path, _ := errors.AsType[*fs.PathError](err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Say = "there is no such file"
	case errors.Is(err, fs.ErrPermission):
		e.Say, e.Try = "it can't be read", "let the user that the bot runs as read it"
	case errors.Is(err, syscall.EISDIR):
		e.Say, e.Try = "this is a folder", "name a file in it"
	case path != nil:
		e.Say = "it can't be read: " + path.Err.Error()
	default:
		e.Say = "it can't be read: " + err.Error()
	}
	return e
}

// Decode returns the text that a file's bytes are. Its error is an *Error without
// a file.
func Decode(data []byte) ([]byte, error) {
	if len(data) > Most {
		return nil, &Error{Say: fmt.Sprintf("it has more than %d MiB", Most>>20), Try: "is it the file that you mean?"}
	}
	if name := encoding(data); name != "" {
		return nil, &Error{
			Say: "this is " + name + ", and not UTF-8",
			Try: "save it as UTF-8 (in Notepad: Save as, Encoding), or: iconv -f " + name + " -t UTF-8 OLD >NEW",
		}
	}
	text := bytes.TrimPrefix(data, []byte("\ufeff"))
	if i := bytes.IndexByte(text, 0); i >= 0 {
		return nil, &Error{Line: lineAt(text, i), Say: "this is no text: there is a NUL byte in it", Try: "is it the file that you mean?"}
	}
	if bytes.IndexByte(text, '\r') >= 0 {
		text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
		text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
	}
	return text, nil
}

// encoding names an encoding that Windows and databases write beside UTF-8, by the
// mark at its beginning or by where its NULs are; "" for all else.
func encoding(data []byte) string {
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xfe\x00\x00")), bytes.HasPrefix(data, []byte("\x00\x00\xfe\xff")):
		return "UTF-32"
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return "UTF-16"
	}
	head := data[:min(len(data), 512)&^1]
	var nuls [2]int
	for i, b := range head {
		if b == 0 {
			nuls[i%2]++
		}
	}
	switch many := max(len(head)*3/8, 1); {
	case nuls[0] >= many && nuls[1] == 0:
		return "UTF-16BE"
	case nuls[1] >= many && nuls[0] == 0:
		return "UTF-16LE"
	}
	return ""
}

// ReadUTF8 is Read, for files with names in them: a name in another encoding would
// be another name. Read passes over it, since it may well be in a comment.
func ReadUTF8(name string) ([]byte, error) {
	text, err := Read(name)
	if err != nil {
		return nil, err
	}
	for n, line := range Lines(text) {
		if !utf8.ValidString(line) {
			return nil, &Error{File: name, Line: n, Say: "this line is not UTF-8", Try: "save the file as UTF-8, or: iconv -f WINDOWS-1252 -t UTF-8 OLD >NEW"}
		}
	}
	return text, nil
}

// Lines are the lines of a text, without their ends and the blanks around them,
// by their numbers.
func Lines(text []byte) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		n := 0
		for line := range strings.Lines(string(text)) {
			if n++; !yield(n, strings.TrimSpace(line)) {
				return
			}
		}
	}
}

func lineAt(text []byte, i int) int { return 1 + bytes.Count(text[:i], []byte("\n")) }
