package memstore

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"

	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
)

// chunkName is how Redis names a script in errors.
const chunkName = "user_script"

// Interpreter runs scripts. Several stores may share one, which compiles each script only once; it belongs to one goroutine.
type Interpreter struct {
	state *lua.LState
	// scripts are the compiled ones by text, sources the embedded texts by name.
	scripts map[string]*script
	sources map[string]string

	store   *Store // for which a script runs
	args    []lua.LValue
	failure error // of the command that ended the script
}

type script struct {
	function *lua.LFunction
	sha      string
	broken   error
}

// NewInterpreter makes an interpreter with the libraries that a Redis has and the scripts use.
func NewInterpreter() *Interpreter {
	i := &Interpreter{
		state: lua.NewState(lua.Options{
			SkipOpenLibs: true, CallStackSize: 64, RegistrySize: 1 << 12, RegistryMaxSize: 1 << 18,
		}),
		scripts: map[string]*script{},
		sources: map[string]string{},
	}
	for _, name := range command.Scripts() {
		i.sources[name] = command.Source(name)
	}
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{
		{lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable}, {lua.StringLibName, lua.OpenString}, {lua.MathLibName, lua.OpenMath},
	} {
		i.state.Push(i.state.NewFunction(library.open))
		i.state.Push(lua.LString(library.name))
		i.state.Call(1, 0)
	}
	// What reads the world, or is not a function of its arguments, is no part of a script.
	for _, name := range []string{"print", "dofile", "loadfile", "require", "module", "newproxy", "collectgarbage"} {
		i.state.SetGlobal(name, lua.LNil)
	}
	if library, ok := i.state.GetGlobal(lua.MathLibName).(*lua.LTable); ok {
		library.RawSetString("random", lua.LNil)
		library.RawSetString("randomseed", lua.LNil)
	}
	if library, ok := i.state.GetGlobal(lua.StringLibName).(*lua.LTable); ok {
		library.RawSetString("format", i.state.NewFunction(quickFormat(library.RawGetString("format"))))
	}
	i.state.SetGlobal("tonumber", i.state.NewFunction(toNumber(i.state.GetGlobal("tonumber"))))
	redis := i.state.NewTable()
	redis.RawSetString("call", i.state.NewFunction(i.call))
	i.state.SetGlobal("redis", redis)
	// A script that uses a global variable of its own ends with an error, as in a Redis.
	guard := i.state.NewTable()
	guard.RawSetString("__index", i.state.NewFunction(func(l *lua.LState) int {
		l.RaiseError("Script attempted to access nonexistent global variable '%s'", l.ToString(2))
		return 0
	}))
	guard.RawSetString("__newindex", i.state.NewFunction(func(l *lua.LState) int {
		l.RaiseError("Attempt to modify a readonly table")
		return 0
	}))
	i.state.G.Global.Metatable = guard
	return i
}

// toNumber is tonumber as the Lua of a Redis has it, which reads whatever C's strtod reads. The library's refuses exponents without a
// point and integers of more than 64 bits.
func toNumber(original lua.LValue) lua.LGFunction {
	return func(l *lua.LState) int {
		text, ok := l.Get(1).(lua.LString)
		if !ok || l.GetTop() != 1 {
			return forward(l, original)
		}
		if f, ok := parseNumber(string(text)); ok {
			l.Push(lua.LNumber(f))
		} else {
			l.Push(lua.LNil)
		}
		return 1
	}
}

func parseNumber(text string) (float64, bool) {
	text = strings.Trim(text, " \t\n\v\f\r")
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return float64(n), true
	}
	if strings.Contains(text, "_") {
		return 0, false
	}
	if lower := strings.ToLower(text); strings.Contains(lower, "0x") && !strings.Contains(lower, "p") {
		text += "p0"
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil || errors.Is(err, strconv.ErrRange)
}

// forward calls a function with the arguments of the running one.
func forward(l *lua.LState, f lua.LValue) int {
	n := l.GetTop()
	l.Push(f)
	for k := 1; k <= n; k++ {
		l.Push(l.Get(k))
	}
	l.Call(n, 1)
	return 1
}

// quickFormat is string.format. It formats whole numbers by itself, which the scripts do often and the library does slowly.
func quickFormat(original lua.LValue) lua.LGFunction {
	return func(l *lua.LState) int {
		n, ok := l.Get(2).(lua.LNumber)
		if !ok || l.GetTop() != 2 || l.Get(1) != lua.LString("%.0f") {
			return forward(l, original)
		}
		text := strconv.FormatFloat(float64(n), 'f', 0, 64)
		if math.IsInf(float64(n), 0) {
			text = strings.ToLower(strings.TrimPrefix(text, "+"))
		}
		l.Push(lua.LString(text))
		return 1
	}
}

func (i *Interpreter) embedded(name string) string { return i.sources[name] }

func (i *Interpreter) compile(text string) *script {
	if s := i.scripts[text]; s != nil {
		return s
	}
	sum := sha1.Sum([]byte(text))
	s := &script{sha: hex.EncodeToString(sum[:])}
	i.scripts[text] = s
	chunk, err := parse.Parse(strings.NewReader(text), chunkName)
	if err != nil {
		s.broken = Error(fmt.Sprintf("ERR Error compiling script (new function): %v", err))
		return s
	}
	proto, err := lua.Compile(chunk, chunkName)
	if err != nil {
		s.broken = Error(fmt.Sprintf("ERR Error compiling script (new function): %v", err))
		return s
	}
	s.function = i.state.NewFunctionFromProto(proto)
	return s
}

// run executes a script for a store.
func (i *Interpreter) run(s *Store, text string, keys, args []string) (any, error) {
	sc := i.compile(text)
	if sc.broken != nil {
		return nil, sc.broken
	}
	i.state.G.Global.RawSetString("KEYS", i.strings(keys))
	i.state.G.Global.RawSetString("ARGV", i.strings(args))
	i.store, i.failure = s, nil
	err := i.state.CallByParam(lua.P{Fn: sc.function, NRet: 1, Protect: true})
	i.store = nil
	if err != nil {
		return nil, i.scriptError(sc, err)
	}
	result := i.state.Get(-1)
	i.state.Pop(1)
	return plain(result)
}

func (i *Interpreter) strings(words []string) *lua.LTable {
	t := i.state.CreateTable(len(words), 0)
	for _, w := range words {
		t.Append(lua.LString(w))
	}
	return t
}

// scriptError is the error reply for a script that ended with err.
func (i *Interpreter) scriptError(sc *script, err error) error {
	text := err.Error()
	var api *lua.ApiError
	if errors.As(err, &api) {
		text = api.Object.String()
	}
	line := "1"
	if rest, ok := strings.CutPrefix(text, chunkName+":"); ok {
		line, _, _ = strings.Cut(rest, ":")
	}
	if i.failure != nil {
		text = i.failure.Error()
	} else {
		text = "ERR " + text
	}
	return Error(fmt.Sprintf("%s script: %s, on @%s:%s.", text, sc.sha, chunkName, line))
}

// call is redis.call.
func (i *Interpreter) call(l *lua.LState) int {
	n := l.GetTop()
	if n == 0 {
		return i.fail(l, Error("ERR Please specify at least one argument for this redis.call()"))
	}
	i.args = i.args[:0]
	for k := 1; k <= n; k++ {
		switch v := l.Get(k).(type) {
		case lua.LString:
			i.args = append(i.args, v)
		case lua.LNumber:
			i.args = append(i.args, lua.LString(formatNumber(float64(v))))
		default:
			return i.fail(l, Error("ERR Lua redis lib command arguments must be strings or integers"))
		}
	}
	name := word(i.args[0])
	if _, known := find(name); !known {
		name = strings.ToUpper(name)
	}
	r, err := i.store.execute(name, i.args[1:], true)
	if err != nil {
		return i.fail(l, err)
	}
	l.Push(i.value(r))
	return 1
}

// fail ends the script.
func (i *Interpreter) fail(l *lua.LState, err error) int {
	i.failure = err
	l.Error(lua.LString(err.Error()), 1)
	return 0
}

// value is the reply to a command as a script sees it.
func (i *Interpreter) value(r reply) lua.LValue {
	switch r.kind {
	case numberReply:
		return lua.LNumber(r.number)
	case textReply:
		return r.text
	case statusReply:
		t := i.state.CreateTable(0, 1)
		t.RawSetString("ok", r.text)
		return t
	case listReply:
		t := i.state.CreateTable(len(r.list)+1, 0) // one more, since scripts insert the time
		for _, v := range r.list {
			t.Append(v)
		}
		return t
	default:
		return lua.LFalse
	}
}

// plain is what a script returns, as the client library gives it.
func plain(v lua.LValue) (any, error) {
	switch v := v.(type) {
	case lua.LString:
		return string(v), nil
	case lua.LNumber:
		return int64(v), nil
	case lua.LBool:
		if v {
			return int64(1), nil
		}
		return nil, nil //nolint:nilnil // the reply is nil
	case *lua.LTable:
		if text, ok := v.RawGetString("err").(lua.LString); ok {
			return nil, Error(text)
		}
		if text, ok := v.RawGetString("ok").(lua.LString); ok {
			return string(text), nil
		}
		list := make([]any, 0, v.Len())
		for k := 1; ; k++ {
			item := v.RawGetInt(k)
			if item == lua.LNil {
				return list, nil
			}
			value, err := plain(item)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
	default:
		return nil, nil //nolint:nilnil // the reply is nil
	}
}

// formatNumber writes a number as a Redis gives it to a command.
func formatNumber(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1e17 {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return strconv.FormatFloat(f, 'g', 17, 64)
}
