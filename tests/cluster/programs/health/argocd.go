package main

import (
	"fmt"
	"os"
	"strings"

	lua "github.com/yuin/gopher-lua"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// healthPrefix is how the keys of health checks begin; GROUP_KIND follows.
const healthPrefix = "resource.customizations.health."

// health is what a health check returns.
type health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// checks are Lua scripts by kind.
type checks map[schema.GroupKind]string

func readChecks(path string) (checks, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file corev1.ConfigMap
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	found := checks{}
	for key, script := range file.Data {
		if rest, is := strings.CutPrefix(key, healthPrefix); is {
			group, kind, _ := strings.Cut(rest, "_")
			found[schema.GroupKind{Group: group, Kind: kind}] = script
		}
	}
	return found, nil
}

// judge asks the check of the object's kind, if there is one. Argo CD asks none about an object that is being deleted.
func (c checks) judge(object *unstructured.Unstructured) (*health, error) {
	script, has := c[object.GroupVersionKind().GroupKind()]
	if !has {
		return nil, nil
	}
	if object.GetDeletionTimestamp() != nil {
		return &health{Status: "Progressing", Message: "Pending deletion"}, nil
	}
	state, err := newState()
	if err != nil {
		return nil, err
	}
	defer state.Close()
	state.SetGlobal("obj", toLua(state, object.Object))
	if err := state.DoString(script); err != nil {
		return nil, fmt.Errorf("health check: %w", err)
	}
	returned, is := state.Get(-1).(*lua.LTable)
	if !is {
		return nil, fmt.Errorf("the health check returned a %s, not a table", state.Get(-1).Type())
	}
	said := &health{Status: lua.LVAsString(returned.RawGetString("status"))}
	// Argo CD takes nothing but a text here.
	switch message := returned.RawGetString("message").(type) {
	case lua.LString:
		said.Message = string(message)
	default:
		return nil, fmt.Errorf("the health check returned a message that is a %s", message.Type())
	}
	switch said.Status {
	case "Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown":
		return said, nil
	default:
		return nil, fmt.Errorf("the health check returned the status %q", said.Status)
	}
}

// newState has the libraries that Argo CD gives to checks of its ConfigMap: neither string nor math is among them.
func newState() (*lua.LState, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	libraries := map[string]lua.LGFunction{
		lua.BaseLibName: lua.OpenBase,
		lua.TabLibName:  lua.OpenTable,
	}
	// Packages come first: the others register themselves there.
	if err := open(state, lua.LoadLibName, lua.OpenPackage); err != nil {
		return nil, err
	}
	for name, library := range libraries {
		if err := open(state, name, library); err != nil {
			return nil, err
		}
	}
	return state, nil
}

func open(state *lua.LState, name string, library lua.LGFunction) error {
	return state.CallByParam(lua.P{Fn: state.NewFunction(library), Protect: true}, lua.LString(name))
}

// toLua makes tables of objects and lists. What is null is not there.
func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case string:
		return lua.LString(value)
	case []any:
		list := state.NewTable()
		for _, item := range value {
			list.Append(toLua(state, item))
		}
		return list
	case map[string]any:
		table := state.NewTable()
		for key, item := range value {
			table.RawSetString(key, toLua(state, item))
		}
		return table
	default:
		return lua.LNil
	}
}
