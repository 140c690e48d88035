package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/redact"
)

// setting is one leaf of a settings struct.
type setting struct {
	path  string
	usage string
	value reflect.Value
}

func isDuration(t reflect.Type) bool { return t == reflect.TypeFor[time.Duration]() }

// readsText reports whether values of t parse themselves.
func readsText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// settings lists the leaves of the struct v, in the order of its fields.
func settings(prefix string, v reflect.Value) []setting {
	var out []setting
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key, inline := keyOf(f)
		switch {
		case key == "" && !inline:
		case inline:
			out = append(out, settings(prefix, v.Field(i))...)
		case isSection(f.Type):
			out = append(out, settings(join(prefix, key), v.Field(i))...)
		default:
			out = append(out, setting{path: join(prefix, key), usage: f.Tag.Get("usage"), value: v.Field(i)})
		}
	}
	return out
}

// keyOf reads the yaml tag of f; a field without a key is no setting.
func keyOf(f reflect.StructField) (key string, inline bool) {
	if !f.IsExported() {
		return "", false
	}
	key, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if strings.Contains(opts, "inline") {
		return "", true
	}
	if key == "-" {
		return "", false
	}
	return key, false
}

func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !readsText(t)
}

// isLeafText reports whether the setting can be written as one piece of text.
func isLeafText(t reflect.Type) bool {
	switch {
	case isSecret(t), readsText(t):
		return true
	case t.Kind() == reflect.Slice:
		return isLeafText(t.Elem()) && t.Elem().Kind() != reflect.Slice
	case t.Kind() == reflect.Map:
		return t.Key().Kind() == reflect.String && t.Elem().Kind() == reflect.String
	case t.Kind() == reflect.Struct, t.Kind() == reflect.Pointer, t.Kind() == reflect.Interface:
		return false
	default:
		return true
	}
}

// isSecret covers Secret and named byte slices such as tunnel.Secret.
func isSecret(t reflect.Type) bool {
	return t == reflect.TypeFor[Secret]() || (t != reflect.TypeFor[[]byte]() && t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8)
}

func isBool(v reflect.Value) bool { return v.Kind() == reflect.Bool }

// env is the setting's variable.
func (s setting) env() string {
	return EnvPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(s.path))
}

// set parses text into the setting; lists are separated by commas.
func (s setting) set(text string) error {
	return setText(s.value, text)
}

func setText(v reflect.Value, text string) error {
	if t, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		err := t.UnmarshalText([]byte(text))
		if shown := redact.URL(text); err != nil && shown != text { // the error may quote any part of the text
			return fmt.Errorf("%q is not a valid value", shown)
		}
		return err
	}
	if isDuration(v.Type()) {
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration such as 10s", text)
		}
		v.SetInt(int64(d))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
		return nil
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is none of true, false", text)
		}
		v.SetBool(b)
		return nil
	case reflect.Slice:
		return setSlice(v, text)
	case reflect.Map:
		return setMap(v, text)
	default:
		return setNumber(v, text)
	}
}

func setNumber(v reflect.Value, text string) error {
	switch {
	case v.CanInt():
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a whole number of %d bits", text, v.Type().Bits())
		}
		v.SetInt(n)
	case v.CanUint():
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a non-negative whole number of %d bits", text, v.Type().Bits())
		}
		v.SetUint(n)
	case v.CanFloat():
		n, err := strconv.ParseFloat(text, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a number", text)
		}
		v.SetFloat(n)
	default:
		return errors.New("this kind of setting can be given in the file only")
	}
	return nil
}

func setSlice(v reflect.Value, text string) error {
	if isSecret(v.Type()) {
		v.SetBytes([]byte(text))
		return nil
	}
	out := reflect.MakeSlice(v.Type(), 0, 4)
	for _, item := range strings.Split(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		e := reflect.New(v.Type().Elem()).Elem()
		if err := setText(e, item); err != nil {
			return err
		}
		out = reflect.Append(out, e)
	}
	v.Set(out)
	return nil
}

func setMap(v reflect.Value, text string) error {
	out := reflect.MakeMap(v.Type())
	for _, item := range strings.Split(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		key, val, ok := strings.Cut(item, "=")
		if !ok {
			return fmt.Errorf("%q is not KEY=VALUE", item)
		}
		out.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), reflect.ValueOf(val).Convert(v.Type().Elem()))
	}
	v.Set(out)
	return nil
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}
