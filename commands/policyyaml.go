package commands

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"pvebot/cluster/textfile"
	"pvebot/cluster/yamlfile"
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
	Verbs   list             `yaml:"verbs"`
	Scope   string           `yaml:"scope"`
	Need    *yamlfile.Number `yaml:"need"`
	Of      list             `yaml:"of"`
	Expires string           `yaml:"expires"`
}

type quotasFile struct {
	Person   limitsFile    `yaml:"person"`
	Total    limitsFile    `yaml:"total"`
	Approval *approvalFile `yaml:"approval"`
}

type limitsFile struct {
	VMs   *yamlfile.Number `yaml:"vms"`
	Cores *yamlfile.Number `yaml:"cores"`
	RAM   *string          `yaml:"ram"`
	Disk  *string          `yaml:"disk"`
}

// list is one word or several.
type list []string

// UnmarshalYAML implements yaml.InterfaceUnmarshaler.
func (l *list) UnmarshalYAML(unmarshal func(any) error) error {
	var one yamlfile.Word
	if unmarshal(&one) == nil {
		*l = list{string(one)}
		return nil
	}
	var many []yamlfile.Word
	err := unmarshal(&many)
	*l = yamlfile.Texts(many)
	return err
}

// readYAML reads the file's keys and values, and where they stand. The library
// panics at some texts that are no YAML; nobody is let in by that.
func readYAML(data []byte) (f policyFile, root *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			f, root, err = policyFile{}, nil, &textfile.Error{Say: fmt.Sprintf("this can't be read as YAML: %v", p), Try: "look for tags (!) and anchors (&) that you did not mean"}
		}
	}()
	if root, err = parser.ParseBytes(data, 0); err != nil {
		return policyFile{}, nil, yamlfile.Error(err)
	}
	var wrong []error
	for _, doc := range root.Docs {
		wrong = append(wrong, checkKeys(doc.Body, reflect.TypeFor[policyFile]())...)
	}
	if len(wrong) > 0 {
		return policyFile{}, nil, errors.Join(wrong...)
	}
	if err := yaml.UnmarshalWithOptions(data, &f, yaml.Strict()); err != nil {
		return policyFile{}, nil, yamlfile.Error(err)
	}
	return f, root, nil
}
