package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/containerd/nri/pkg/api"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// schema is the protocol as this version of the library knows it.
func schema() protoreflect.FileDescriptor {
	return (&api.Container{}).ProtoReflect().Descriptor().ParentFile()
}

// describe prints, for every message, its fields by their JSON names, each with the message that it holds; empty for others.
func describe(out io.Writer) error {
	all := map[string]map[string]string{}
	messages := schema().Messages()
	for i := range messages.Len() {
		message := messages.Get(i)
		fields := map[string]string{}
		for j := range message.Fields().Len() {
			field := message.Fields().Get(j)
			value := field
			if field.IsMap() {
				value = field.MapValue()
			}
			held := ""
			if value.Message() != nil {
				held = string(value.Message().Name())
			}
			fields[field.JSONName()] = held
		}
		all[string(message.Name())] = fields
	}
	return json.NewEncoder(out).Encode(all)
}

// printFull prints a message in which every field is set, each to another value.
func printFull(out io.Writer, name string) error {
	descriptor := schema().Messages().ByName(protoreflect.Name(name))
	if descriptor == nil {
		return fmt.Errorf("no such message: %s", name)
	}
	text, err := protojson.Marshal((&filler{}).message(descriptor).Interface())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, string(text))
	return err
}

// filler makes values, no two alike where their type allows it.
type filler struct {
	made int64
}

func (f *filler) message(descriptor protoreflect.MessageDescriptor) protoreflect.Message {
	message := dynamicpb.NewMessage(descriptor)
	for i := range descriptor.Fields().Len() {
		field := descriptor.Fields().Get(i)
		switch {
		case field.IsMap():
			entries := message.Mutable(field).Map()
			for range 2 {
				entries.Set(f.value(field.MapKey()).MapKey(), f.value(field.MapValue()))
			}
		case field.IsList():
			list := message.Mutable(field).List()
			for range 2 {
				list.Append(f.value(field))
			}
		default:
			message.Set(field, f.value(field))
		}
	}
	return message
}

func (f *filler) value(field protoreflect.FieldDescriptor) protoreflect.Value {
	f.made++
	switch field.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(string(field.Name()) + "-" + strconv.FormatInt(f.made, 10))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(-f.made))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(1<<31 + uint32(f.made))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(-1<<53 - f.made)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(1<<63 + uint64(f.made))
	case protoreflect.EnumKind:
		values := field.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(1 + int(f.made)%(values.Len()-1)).Number())
	case protoreflect.MessageKind:
		return protoreflect.ValueOfMessage(f.message(field.Message()))
	default:
		panic("the protocol has no " + field.Kind().String())
	}
}
