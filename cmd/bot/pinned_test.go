package main

import (
	"flag"
	"reflect"
	"regexp"
	"testing"

	"github.com/spf13/cobra"

	"pvebot/provision/pinned"
)

var _ = flag.Bool("update", false, "write down names that are new")

// TestNamesOfSettings: the settings in people's .env, with their defaults, and
// the commands and flags in their scripts.
func TestNamesOfSettings(t *testing.T) {
	names := settingTags(reflect.TypeFor[config]())
	names = append(names, "setting prefix "+nodePrefix, "setting prefix of a cluster "+prefixOf("tai-pei"), "file "+packageSettings)
	for name, value := range ofPackage {
		names = append(names, "setting "+name+" of the package "+value)
	}
	names = append(names, commandLine(new(program).command())...)
	pinned.Check(t, "testdata/pinned.txt", names)
}

// settingTags are the settings of a struct, each with its default.
func settingTags(t reflect.Type) (names []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		switch tag, ok := f.Tag.Lookup("env"); {
		case ok && tag != "-":
			names = append(names, "setting "+tag+" "+f.Tag.Get("envDefault"))
		case !ok && f.Type.Kind() == reflect.Struct && f.IsExported():
			names = append(names, settingTags(f.Type)...)
		}
	}
	return names
}

// flagLine begins what a command's help says of a flag.
var flagLine = regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[a-z-]+)`)

func commandLine(c *cobra.Command) []string {
	names := []string{"command " + c.CommandPath()}
	for _, m := range flagLine.FindAllStringSubmatch(c.Flags().FlagUsages(), -1) {
		names = append(names, "command "+c.CommandPath()+" "+m[1])
	}
	for _, sub := range c.Commands() {
		names = append(names, commandLine(sub)...)
	}
	return names
}
