// Package jsonline writes one JSON object per line, each with a single write, so that whoever follows the output never
// sees half a line.
package jsonline

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Fields are the members of one line. Protobuf messages in it are written as proto3 JSON.
type Fields map[string]any

// Writer writes lines. It may be used by several goroutines.
type Writer struct {
	mutex sync.Mutex
	out   io.Writer
}

// New returns a writer of lines to out. A nil out drops them.
func New(out io.Writer) *Writer {
	return &Writer{out: out}
}

// Write writes a line: event, and what fields say of it.
func (w *Writer) Write(event string, fields Fields) error {
	line := map[string]any{"event": event}
	for name, value := range fields {
		member, err := encode(value)
		if err != nil {
			return fmt.Errorf("event %s, member %s: %w", event, name, err)
		}
		line[name] = member
	}
	text, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("event %s: %w", event, err)
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.out == nil {
		return nil
	}
	_, err = w.out.Write(append(text, '\n'))
	return err
}

// Messages is a list of protobuf messages.
func Messages[M proto.Message](messages []M) []proto.Message {
	list := make([]proto.Message, 0, len(messages))
	for _, message := range messages {
		list = append(list, message)
	}
	return list
}

func encode(value any) (any, error) {
	switch value := value.(type) {
	case proto.Message:
		text, err := protojson.Marshal(value)
		return json.RawMessage(text), err
	case []proto.Message:
		list := make([]any, 0, len(value))
		for _, message := range value {
			member, err := encode(message)
			if err != nil {
				return nil, err
			}
			list = append(list, member)
		}
		return list, nil
	default:
		return value, nil
	}
}
