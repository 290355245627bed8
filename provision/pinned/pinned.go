// Package pinned keeps names that are stored, or that bots of several versions
// share, as they are. A test collects them from the code that has them and calls
// Check, which holds them against a file of testdata.
package pinned

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Check compares names with those in file, one a line. One that is gone always
// fails, stores and bots of an earlier version have it. A new one fails until it
// is written down: by the test's flag -update, where the package has one.
func Check(t testing.TB, file string, names []string) {
	t.Helper()
	f := flag.Lookup("update")
	check(t, file, f != nil && f.Value.String() == "true", names)
}

func check(t testing.TB, file string, update bool, names []string) {
	t.Helper()
	names = slices.Clone(names)
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	slices.Sort(names)
	names = slices.Compact(names)
	text, err := os.ReadFile(file)
	if err != nil && !(update && os.IsNotExist(err)) {
		t.Fatal(err)
	}
	var pinned []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			pinned = append(pinned, line)
		}
	}
	gone, added := compare(pinned, names)
	for _, name := range gone {
		t.Errorf("%s: %q is gone, or means something else by now. It is in stores, or understood by bots, of earlier versions: "+
			"bring it back (a renamed field keeps its json tag), or read both, and only then take the line out by hand", file, name)
	}
	if len(added) == 0 {
		return
	}
	if !update {
		t.Errorf("%s does not have these yet; if they are meant to be stored for good, run this test with -update:\n  %s", file, strings.Join(added, "\n  "))
		return
	}
	all := slices.Sorted(slices.Values(append(pinned, added...)))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Join(all, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func compare(pinned, names []string) (gone, added []string) {
	for _, name := range pinned {
		if !slices.Contains(names, name) {
			gone = append(gone, name)
		}
	}
	for _, name := range names {
		if !slices.Contains(pinned, name) {
			added = append(added, name)
		}
	}
	return gone, added
}

// Keys are the keys of v's JSON form with what kind of value they have, like
// "job.order.by.platform string". Every field of v that is empty is filled
// first, so that none is left out: those of an interface, and those whose
// insides nobody sees, with one of samples.
func Keys(t testing.TB, root string, v any, samples ...any) []string {
	t.Helper()
	p := reflect.New(reflect.TypeOf(v))
	p.Elem().Set(reflect.ValueOf(v))
	fill(p.Elem(), samples, 0)
	text, err := json.Marshal(p.Interface())
	if err != nil {
		t.Fatalf("%s has no JSON form: %v", root, err)
	}
	return JSON(t, root, text)
}

// JSON are the keys of a JSON text, as Keys has them.
func JSON(t testing.TB, root string, text []byte) []string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s is no JSON: %v", root, err)
	}
	return flatten(root, v)
}

func flatten(at string, v any) []string {
	var names []string
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			names = append(names, flatten(at+"."+key, value)...)
		}
	case []any:
		for _, value := range v {
			names = append(names, flatten(at+"[]", value)...)
		}
	case string:
		return []string{at + " string"}
	case json.Number:
		return []string{at + " number"}
	case bool:
		return []string{at + " bool"}
	default:
		return []string{at + " null"}
	}
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

// deepest is how far fill goes into a type that has itself inside.
const deepest = 12

func fill(v reflect.Value, samples []any, depth int) {
	if !v.CanSet() || depth > deepest || !v.IsZero() && v.Kind() != reflect.Struct {
		return
	}
	for _, s := range samples {
		switch sample := reflect.ValueOf(s); {
		case v.Kind() == reflect.Interface && sample.Type().AssignableTo(v.Type()):
			whole := reflect.New(sample.Type()).Elem()
			whole.Set(sample)
			fill(whole, nil, depth+1)
			v.Set(whole)
			return
		case depth > 0 && sample.Type() == v.Type():
			v.Set(sample)
			return
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), samples, depth+1)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), samples, depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), samples, depth+1)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(value, samples, depth+1)
		if key.Kind() == reflect.String {
			key.SetString("*")
		}
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(1)
	}
}

// Constants are the string constants of the given types that the package in the
// working directory declares, like "State running". A constant's Go name does
// not matter.
func Constants(t testing.TB, types ...string) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok {
				names = append(names, values(spec, types)...)
			}
			return true
		})
	}
	for _, typ := range types {
		if !slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, typ+" ") }) {
			t.Errorf("this package has no constant of the type %s", typ)
		}
	}
	return names
}

func values(spec *ast.ValueSpec, types []string) (names []string) {
	typ, ok := spec.Type.(*ast.Ident)
	if !ok || !slices.Contains(types, typ.Name) {
		return nil
	}
	for _, value := range spec.Values {
		if lit, ok := value.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil && text != "" {
				names = append(names, fmt.Sprintf("%s %s", typ.Name, text))
			}
		}
	}
	return names
}
