package config

import (
	"fmt"
	"strings"
)

// A Layer is where a value can come from; a later layer covers an earlier one.
type Layer string

const (
	FromDefault Layer = "default"
	FromHost    Layer = "host" // found out from the machine: the host name
	FromFile    Layer = "file"
	FromEnv     Layer = "env"
	FromFlag    Layer = "flag"
)

// An Origin is the place that gave a value.
type Origin struct {
	Layer  Layer
	Name   string // path of the file, name of the variable, the flag as it was given
	Line   int    // in the file, from 1
	Column int    // in characters, from 1
}

// String is the place as people and editors read it: "node.yaml:4:11".
func (o Origin) String() string {
	switch o.Layer {
	case FromFile:
		return fmt.Sprintf("%s:%d:%d", o.Name, o.Line, o.Column)
	case FromEnv, FromFlag:
		return o.Name
	case FromHost:
		return "host name"
	default:
		return "default"
	}
}

// parent is the path of the section that path lies in, "" for the file itself.
func parent(path string) string {
	i := strings.LastIndexByte(path, '.')
	return path[:max(i, 0)]
}

// under is the path of key in the section at path.
func under(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
