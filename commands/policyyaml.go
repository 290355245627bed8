package commands

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// policyFile is policy.yaml. The keys' names are in its tags and nowhere else.
type policyFile struct {
	SoloAdmin bool                `yaml:"solo_admin"`
	Roles     map[string]roleFile `yaml:"roles"`
	People    map[string]list     `yaml:"people"`    // their identities
	Approvals *[]approvalFile     `yaml:"approvals"` // nil: the defaults
	Quotas    quotasFile          `yaml:"quotas"`
	Channels  map[string]list     `yaml:"channels"` // by cluster
}

type roleFile struct {
	Members list       `yaml:"members"`
	Groups  list       `yaml:"groups"`
	Allow   []ruleFile `yaml:"allow"`
}

type ruleFile struct {
	Verbs list   `yaml:"verbs"`
	Scope string `yaml:"scope"`
	Tags  list   `yaml:"tags"`
	Nodes list   `yaml:"nodes"`

	Clusters list `yaml:"clusters"`
}

type approvalFile struct {
	Verbs   list   `yaml:"verbs"`
	Scope   string `yaml:"scope"`
	Need    *int   `yaml:"need"`
	Of      list   `yaml:"of"`
	Expires string `yaml:"expires"`
}

type quotasFile struct {
	Person   limitsFile    `yaml:"person"`
	Total    limitsFile    `yaml:"total"`
	Approval *approvalFile `yaml:"approval"`
}

type limitsFile struct {
	VMs   *int64  `yaml:"vms"`
	Cores *int64  `yaml:"cores"`
	RAM   *string `yaml:"ram"`
	Disk  *string `yaml:"disk"`
}

// list is one word or several.
type list []string

// UnmarshalYAML implements yaml.InterfaceUnmarshaler.
func (l *list) UnmarshalYAML(unmarshal func(any) error) error {
	var one string
	if unmarshal(&one) == nil {
		*l = list{one}
		return nil
	}
	var many []string
	err := unmarshal(&many)
	*l = many
	return err
}

// readYAML reads the file's keys and values, and where they stand. The library
// panics at some texts that are no YAML; nobody is let in by that.
func readYAML(data []byte) (f policyFile, root *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			f, root, err = policyFile{}, nil, &FileError{Say: fmt.Sprintf("this can't be read as YAML: %v", p), Hint: "look for tags (!) and anchors (&) that you did not mean"}
		}
	}()
	if root, err = parser.ParseBytes(data, 0); err != nil {
		return policyFile{}, nil, yamlError(err)
	}
	var wrong []error
	for _, doc := range root.Docs {
		wrong = append(wrong, checkKeys(doc.Body, reflect.TypeFor[policyFile]())...)
	}
	if len(wrong) > 0 {
		return policyFile{}, nil, errors.Join(wrong...)
	}
	if err := yaml.UnmarshalWithOptions(data, &f, yaml.Strict()); err != nil {
		return policyFile{}, nil, yamlError(err)
	}
	return f, root, nil
}

// yamlError makes a FileError of what the YAML library says.
func yamlError(err error) error {
	said, ok := errors.AsType[yaml.Error](err)
	if !ok {
		return &FileError{Say: err.Error()}
	}
	e := &FileError{Say: said.GetMessage()}
	if t := said.GetToken(); t != nil && t.Position != nil {
		e.Line = t.Position.Line
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

// kindWords says in the words of the file what a kind of Go is.
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
