// Package config reads the configuration of a node: strict YAML files, then
// environment variables, then flags, over defaults.
//
// [Config] is a plain tree of structs and the only description of the format:
// the decoder, the JSON Schema, the annotated example and the names of the
// environment variables are all derived from its fields and their tags. It has
// the keys that work in this version and no others. A key that is known to
// belong to a capability of a later version is refused with these words, any
// other unknown key with the nearest known one; keys that begin with "x-" are
// left to their owners.
//
// [Load] reports every mistake of all layers at once as an [Error], each with
// file, line, column, an excerpt and what to do. The syntax of YAML is the
// exception: after a syntax error nothing of that file is known. Anchors,
// aliases, merge keys, tags and second documents are refused: a configuration
// says what it says, and stays small when it is read.
//
// Every value remembers where it came from ([Origin]). Secrets are never values:
// a key ending in _file names the file that holds one, and only a fingerprint
// of its content is ever shown.
//
// The package describes and checks a node's configuration. It starts nothing,
// and does not know what is done with it.
package config
