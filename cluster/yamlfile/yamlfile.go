// Package yamlfile reads YAML that people write. What is wrong with a file is told
// by its line, in words that are not Go's, and a word is taken as it was written.
package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"pvebot/cluster/textfile"
)

// Word is a word as it stands in the file, with or without quotes: 3.20 is not
// 3.2, and 010 is not 8.
type Word string

// UnmarshalYAML implements yaml.BytesUnmarshaler: that is what knows aliases.
func (w *Word) UnmarshalYAML(text []byte) error {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return err
	}
	if len(file.Docs) == 0 {
		*w = ""
		return nil
	}
	switch n := file.Docs[0].Body.(type) {
	case nil, *ast.NullNode:
		*w = ""
	case *ast.LiteralNode:
		*w = Word(n.Value.Value)
	case ast.ScalarNode:
		*w = Word(n.GetToken().Value)
	default:
		return errors.New("this wants " + kindWords(reflect.String))
	}
	return nil
}

// Number is a whole number as it stands in the file: 010 is ten, and not eight.
type Number int64

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (n *Number) UnmarshalYAML(node ast.Node) error {
	i, err := strconv.ParseInt(node.GetToken().Value, 10, 64)
	if _, ok := node.(ast.ScalarNode); !ok || err != nil {
		return &textfile.Error{Line: node.GetToken().Position.Line, Say: "this wants " + kindWords(reflect.Int64)}
	}
	*n = Number(i)
	return nil
}

// Texts are words as strings.
func Texts(words []Word) []string {
	var all []string
	for _, w := range words {
		all = append(all, string(w))
	}
	return all
}

// Entry is one of a list.
type Entry[T any] struct {
	Line  int // where it begins, from 1 on
	Value T
}

// List reads a list of what. A key that T does not have is an error. Each error
// is a *textfile.Error without a file.
func List[T any](text []byte, what string) (entries []Entry[T], err error) {
	// The library panics at some texts that are no YAML.
	defer func() {
		if p := recover(); p != nil {
			entries, err = nil, &textfile.Error{Say: fmt.Sprintf("this is no list of %s in YAML: %v", what, p)}
		}
	}()
	root, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, Error(err)
	}
	var values []T
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.DisallowUnknownField()).Decode(&values); err != nil && !errors.Is(err, io.EOF) {
		wrong := Error(err)
		if wrong.Line == 0 {
			wrong.Line = firstWrong[T](root)
		}
		return nil, wrong
	}
	nodes := items(root)
	for i, v := range values {
		e := Entry[T]{Value: v}
		if i < len(nodes) {
			e.Line = nodes[i].GetToken().Position.Line
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// items are those of the list that a file is.
func items(file *ast.File) []ast.Node {
	if len(file.Docs) == 0 {
		return nil
	}
	list, ok := file.Docs[0].Body.(*ast.SequenceNode)
	if !ok {
		return nil
	}
	return list.Values
}

// firstWrong is the line of the first key or item that is none of T's, 0 where
// all are. The library does not say it of errors that are not its own.
func firstWrong[T any](file *ast.File) int {
	for _, item := range items(file) {
		if !isWrong[T](item) {
			continue
		}
		if m, ok := item.(*ast.MappingNode); ok {
			for _, n := range m.Values {
				if isWrong[T](n) {
					return n.Key.GetToken().Position.Line
				}
			}
		}
		return item.GetToken().Position.Line
	}
	return 0
}

func isWrong[T any](n ast.Node) bool {
	var v T
	return yaml.NodeToValue(n, &v, yaml.DisallowUnknownField()) != nil
}

// unknownKey is how the library says that there is no such key.
var unknownKey = regexp.MustCompile(`^unknown field "(.*)"$`)

// Error makes a *textfile.Error of what the YAML library says.
func Error(err error) *textfile.Error {
	if e, ok := errors.AsType[*textfile.Error](err); ok {
		return e
	}
	said, ok := errors.AsType[yaml.Error](err)
	if !ok {
		return &textfile.Error{Say: err.Error()}
	}
	e := &textfile.Error{Say: said.GetMessage()}
	if t := said.GetToken(); t != nil && t.Position != nil {
		e.Line = t.Position.Line
	}
	if m := unknownKey.FindStringSubmatch(e.Say); m != nil {
		e.Say = fmt.Sprintf("there is no key %s here", m[1])
	}
	if t, ok := errors.AsType[*yaml.TypeError](err); ok {
		e.Say = "this wants " + kindWords(t.DstType.Kind())
	}
	if t, ok := errors.AsType[*yaml.UnexpectedNodeTypeError](err); ok {
		e.Say = "this wants " + kindWords(reflect.Map)
		if t.Expected == ast.SequenceType {
			e.Say = "this wants " + kindWords(reflect.Slice)
		}
	}
	return e
}

// kindWords says in the words of a file what a kind of Go is.
func kindWords(k reflect.Kind) string {
	switch k {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.String:
		return "a word"
	case reflect.Slice:
		return "a list"
	default:
		return "keys with values"
	}
}
