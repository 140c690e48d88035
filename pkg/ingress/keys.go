package ingress

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// maxKeys bounds the keys of one rule.
const maxKeys = 256

// ParseRuleKeys reads a rule from single keys and texts, as the labels of a container have them: "originRequest.noTLSVerify" and "true",
// "actions.requestHeaders.set.X-Frame" and "DENY". The case of a key does not count. The text of a list is its elements with commas in
// between; that of an object, or of a list of them, is JSON. A key that no rule has is an error: it may have been meant as protection.
func ParseRuleKeys(keys map[string]string) (RuleSpec, error) {
	if len(keys) > maxKeys {
		return RuleSpec{}, fmt.Errorf("%d keys are more than %d", len(keys), maxKeys)
	}
	tree := map[string]any{}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if err := setKey(tree, reflect.TypeFor[jsonRule](), strings.Split(key, "."), keys[key]); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return RuleSpec{}, err
	}
	b, err := json.Marshal(tree)
	if err != nil {
		return RuleSpec{}, err
	}
	var r jsonRule
	if err := json.Unmarshal(b, &r); err != nil {
		return RuleSpec{}, err
	}
	return r.spec(), nil
}

var (
	errNoSuchKey = errors.New("there is no such key")
	errTwice     = errors.New("given twice, or as a whole and in part")
	errNeedsJSON = errors.New("its text must be JSON")
)

// setKey puts the value of one key into the tree, which is an object of type t.
func setKey(tree map[string]any, t reflect.Type, path []string, text string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name, rest := path[0], path[1:]
	var below reflect.Type
	switch t.Kind() {
	case reflect.Map: // the rest of the key is one name, with its dots
		name, rest, below = strings.Join(path, "."), nil, t.Elem()
	case reflect.Struct:
		field, found := t.FieldByNameFunc(func(n string) bool {
			f, _ := t.FieldByName(n)
			return f.IsExported() && strings.EqualFold(jsonName(f), name)
		})
		if !found {
			return errNoSuchKey
		}
		name, below = jsonName(field), field.Type
	default:
		return errNoSuchKey
	}
	have, given := tree[name]
	if len(rest) == 0 {
		if given {
			return errTwice
		}
		v, err := keyValue(below, text)
		if err == nil {
			tree[name] = v
		}
		return err
	}
	if !given {
		have = map[string]any{}
		tree[name] = have
	}
	inner, isTree := have.(map[string]any)
	if !isTree {
		return errTwice
	}
	return setKey(inner, below, rest, text)
}

// jsonName is the key of a field.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// keyValue turns a text into a value for a field of type t.
func keyValue(t reflect.Type, text string) (any, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == reflect.TypeFor[seconds]() || t == reflect.TypeFor[Duration]() {
		if _, err := strconv.Atoi(text); err == nil {
			return json.RawMessage(text), nil // whole seconds
		}
		return text, nil
	}
	var err error
	var v any
	switch t.Kind() {
	case reflect.String:
		return text, nil
	case reflect.Bool:
		v, err = strconv.ParseBool(text)
	case reflect.Int, reflect.Int64:
		v, err = strconv.ParseInt(text, 10, 64)
	case reflect.Uint, reflect.Uint64:
		v, err = strconv.ParseUint(text, 10, 64)
	case reflect.Float64:
		v, err = strconv.ParseFloat(text, 64)
	case reflect.Slice:
		return listValue(t.Elem(), text)
	case reflect.Struct, reflect.Map:
		if json.Valid([]byte(text)) && strings.HasPrefix(strings.TrimSpace(text), "{") {
			return json.RawMessage(text), nil
		}
		return nil, errNeedsJSON
	default:
		return nil, errNoSuchKey
	}
	if err != nil {
		return nil, fmt.Errorf("%q is no %s", text, kindText(t.Kind()))
	}
	return v, nil
}

func listValue(element reflect.Type, text string) (any, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "[") && json.Valid([]byte(text)) {
		return json.RawMessage(text), nil
	}
	if k := element.Kind(); k == reflect.Struct || k == reflect.Map || k == reflect.Slice {
		return nil, errNeedsJSON
	}
	out := []any{}
	for item := range strings.SplitSeq(text, ",") {
		v, err := keyValue(element, strings.TrimSpace(item))
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func kindText(k reflect.Kind) string {
	switch k {
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "number"
	default:
		return "whole number"
	}
}
