package former

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// Fields of /proc/PID/stat after the name of the program (proc_pid_stat(5)): they begin with the third.
const (
	fieldState  = 3
	fieldStart  = 22
	firstOfRest = 3
)

var errNoStat = errors.New("no status of a process")

// stat is what the system says of a process.
type stat struct {
	pid   int
	state byte
	// start is when it began, in clock ticks since the boot.
	start uint64
}

// parseStat reads /proc/PID/stat. The name of the program may hold spaces and parentheses; the last parenthesis ends it.
func parseStat(text []byte) (stat, error) {
	number, _, named := bytes.Cut(text, []byte(" ("))
	i := bytes.LastIndexByte(text, ')')
	if !named || i < len(number) {
		return stat{}, errNoStat
	}
	pid, err := strconv.Atoi(string(number))
	if err != nil {
		return stat{}, fmt.Errorf("%w: number %.20q", errNoStat, number)
	}
	fields := bytes.Fields(text[i+1:])
	if len(fields) <= fieldStart-firstOfRest || len(fields[fieldState-firstOfRest]) != 1 {
		return stat{}, errNoStat
	}
	start, err := strconv.ParseUint(string(fields[fieldStart-firstOfRest]), 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("%w: start %q", errNoStat, fields[fieldStart-firstOfRest])
	}
	return stat{pid: pid, state: fields[fieldState-firstOfRest][0], start: start}, nil
}

// over reports whether a process has ended, and only its parent has not taken note of that.
func (s stat) over() bool { return s.state == 'Z' || s.state == 'X' || s.state == 'x' }
