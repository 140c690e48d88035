package host

import (
	"fmt"
	"strings"
	"time"
)

// action is what a line of standard input asks for.
type action uint8

const (
	actNothing action = iota // an empty line
	actReconnect
	actHelp
	actUnknown
)

// command is one line of standard input, understood.
type command struct {
	action action
	delay  time.Duration // between the end of the connection and the next dial
}

// parseCommand reads one line (docs/spec/lifecycle.md 3.5). The only error is a delay that is none; a negative delay counts as none.
func parseCommand(line string) (command, error) {
	words := strings.Fields(line)
	switch {
	case len(words) == 0:
		return command{}, nil
	case words[0] == "help" && len(words) == 1:
		return command{action: actHelp}, nil
	case words[0] == "reconnect" && len(words) == 1:
		return command{action: actReconnect}, nil
	case words[0] == "reconnect" && len(words) == 2:
		delay, err := time.ParseDuration(words[1])
		if err != nil {
			return command{}, fmt.Errorf("reconnect: %q is not a duration such as 10s", words[1])
		}
		return command{action: actReconnect, delay: max(delay, 0)}, nil
	default:
		return command{action: actUnknown}, nil
	}
}
