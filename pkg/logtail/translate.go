package logtail

import (
	"log/slog"

	"github.com/culvert-tunnel/culvert/pkg/management"
	"github.com/culvert-tunnel/culvert/pkg/stocklog"
)

// translate makes the lines that stand for a record, in the words of the reference. They hold no secret that package redact recognizes.
// event is the kind of a line that has none of its own.
func translate(r slog.Record, event management.Event) []management.Line {
	all := stocklog.Translate(r)
	lines := make([]management.Line, 0, len(all))
	for _, l := range all {
		line := management.Line{Time: management.TimeText(l.Time), Level: levelOf(l.Level), Message: l.Message, Event: event}
		switch l.Event {
		case stocklog.EventConnector:
			line.Event = management.Connector
		case stocklog.EventHTTP:
			line.Event = management.HTTP
		case stocklog.EventTCP:
			line.Event = management.TCP
		case stocklog.EventUDP:
			line.Event = management.UDP
		case stocklog.EventNone:
		}
		if len(l.Fields) > 0 {
			line.Fields = make(map[string]any, len(l.Fields))
		}
		for _, f := range l.Fields {
			line.Fields[f.Key] = f.Value
		}
		if _, failed := line.Fields["error"]; failed {
			line.Level = management.Error
		}
		lines = append(lines, line)
	}
	return lines
}
