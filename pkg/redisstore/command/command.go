package command

import (
	"embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Command is one command for the store: a script, or the words of a plain command.
type Command struct {
	// Script is the name of an embedded script; empty for a plain command.
	Script string
	// Keys are the keys that the command uses. Those of a plain command are among the words in Args, too.
	Keys []string
	// Args are the arguments of the script, or the words of the plain command, its name included.
	Args []string
}

// Name is the script, or the name of the plain command in lower case.
func (c Command) Name() string {
	if c.Script != "" {
		return c.Script
	}
	if len(c.Args) == 0 {
		return ""
	}
	return strings.ToLower(c.Args[0])
}

// plain is a plain command about one key, which is its first argument.
func plain(name, key string, args ...string) Command {
	return Command{Keys: []string{key}, Args: append([]string{name, key}, args...)}
}

// Request is an operation on the store: what to send, and what the reply means.
type Request[T any] struct {
	// Op names the operation in errors.
	Op string
	Command
	// Decode reads the reply: a string, an int64, nil, or an []any of these. It keeps no reference to it.
	Decode func(reply any) (T, error)
}

// Done is the result of an operation that returns nothing.
type Done struct{}

//go:embed scripts/*.lua
var sources embed.FS

const (
	sourceDir = "scripts"
	sourceExt = ".lua"
)

// The scripts, each with its contract in its header.
const (
	scriptAnswerCommand = "answer_command"
	scriptConnector     = "connector"
	scriptDesired       = "desired"
	scriptFleet         = "fleet"
	scriptGrant         = "grant"
	scriptLeader        = "leader"
	scriptLeaveQuota    = "leave_quota"
	scriptLeaveShare    = "leave_share"
	scriptList          = "list"
	scriptGeneration    = "new_generation"
	scriptNoteRules     = "note_rules"
	scriptNotify        = "notify"
	scriptOffer         = "offer_connector"
	scriptProved        = "proved"
	scriptPublishPool   = "publish_pool"
	scriptPut           = "put"
	scriptPutRules      = "put_rules"
	scriptQuota         = "quota"
	scriptReconnect     = "reconnect"
	scriptRelease       = "release"
	scriptRemove        = "remove"
	scriptRenew         = "renew"
	scriptRenewWorker   = "renew_worker"
	scriptReportRules   = "report_rules"
	scriptResealRules   = "reseal_rules"
	scriptResignLead    = "resign_lead"
	scriptRuleHeads     = "rule_heads"
	scriptRules         = "rules"
	scriptSetDesired    = "set_desired"
	scriptSlots         = "slots"
	scriptSubmitCommand = "submit_command"
	scriptTakeLead      = "take_lead"
	scriptTakeShare     = "take_share"
)

// Scripts lists the names of the embedded scripts in alphabetical order.
func Scripts() []string {
	return []string{
		scriptAnswerCommand, scriptConnector, scriptDesired, scriptFleet, scriptGrant, scriptLeader, scriptLeaveQuota, scriptLeaveShare,
		scriptList, scriptGeneration, scriptNoteRules, scriptNotify, scriptOffer, scriptProved, scriptPublishPool, scriptPut, scriptPutRules,
		scriptQuota, scriptReconnect, scriptRelease, scriptRemove, scriptRenew, scriptRenewWorker, scriptReportRules, scriptResealRules,
		scriptResignLead, scriptRuleHeads, scriptRules, scriptSetDesired, scriptSlots, scriptSubmitCommand, scriptTakeLead,
		scriptTakeShare,
	}
}

// Source is the text of a script, or empty if there is none with that name.
func Source(script string) string {
	if !slices.Contains(Scripts(), script) {
		return ""
	}
	text, err := sources.ReadFile(sourceDir + "/" + script + sourceExt)
	if err != nil {
		return ""
	}
	return string(text)
}

// Unavailable is the error of an operation that the store did not carry out, or whose reply was lost: callers see
// tunnel.ErrUnavailable and the cause. A reply that is an error of the server's state (loading, read-only replica, wrong
// password) makes the store as unavailable as silence does.
func Unavailable(op, store string, cause error) error {
	return fmt.Errorf("%s: store %s: %w: %w", op, store, tunnel.ErrUnavailable, cause)
}

// badReply is the error for a reply that does not have the form that the script returns.
func badReply(op string, reply any) error {
	return fmt.Errorf("%s: unexpected reply %v", op, reply)
}

// absent is the error for a reply that is nil.
func absent(op string) error { return fmt.Errorf("%s: %w", op, tunnel.ErrNotFound) }

// text reads a reply that is a string.
func text(op string, reply any) (string, error) {
	switch reply := reply.(type) {
	case nil:
		return "", absent(op)
	case string:
		return reply, nil
	default:
		return "", badReply(op, reply)
	}
}

// texts reads a reply that is a list of strings.
func texts(op string, reply any) ([]string, error) {
	if reply == nil {
		return nil, absent(op)
	}
	list, ok := reply.([]any)
	if !ok {
		return nil, badReply(op, reply)
	}
	out := make([]string, len(list))
	for i, item := range list {
		if out[i], ok = item.(string); !ok {
			return nil, badReply(op, reply)
		}
	}
	return out, nil
}

// flag reads a reply that is 1 for yes.
func flag(op string) func(reply any) (bool, error) {
	return func(reply any) (bool, error) {
		switch reply := reply.(type) {
		case nil:
			return false, absent(op)
		case int64:
			return reply == 1, nil
		default:
			return false, badReply(op, reply)
		}
	}
}

// done accepts every reply but nil.
func done(op string) func(reply any) (Done, error) {
	return func(reply any) (Done, error) {
		if reply == nil {
			return Done{}, absent(op)
		}
		return Done{}, nil
	}
}

func millis(d time.Duration) string {
	return strconv.FormatInt(max(d, 0).Milliseconds(), 10)
}
