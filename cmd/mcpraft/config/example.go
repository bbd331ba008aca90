package config

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
)

// exampleHead opens the annotated example.
const exampleHead = `# yaml-language-server: $schema=./mcpraft.schema.json
#
# Every key of a node's configuration with its default: a node started with this
# file behaves like one started with an empty file. A later source covers an
# earlier one: these defaults, each --config FILE in its order, environment
# variables (MCPRAFT_LISTEN__MCP__ADDR sets listen.mcp.addr), --set KEY=VALUE.
# "mcpraft config validate FILE" checks, "mcpraft config show --origin" tells
# where each value came from. Nothing is reloaded while a node runs, except
# certificates.
`

// profileSample stands under the empty tls.profiles of the example.
const profileSample = `    # peer:
    #   cert_file: /etc/mcpraft/node-1.crt
    #   key_file: /etc/mcpraft/node-1.key
    #   ca_file: /etc/mcpraft/ca.crt
`

// issuerSample stands under the empty auth.issuers of the example.
const issuerSample = `    # corp:
    #   issuer: https://idp.example.org/realms/corp
    #   audience: [https://mcp.example.org]
    #   jwks_url: https://idp.example.org/realms/corp/certs
`

// secretSample stands under the empty upstreams.secrets of the example.
const secretSample = `    # search:
    #   file: /etc/mcpraft/search.token
`

// commandSample stands under the empty upstreams.commands of the example.
const commandSample = `    # files:
    #   command: /usr/local/bin/mcp-server-filesystem
    #   args: [/srv/files]
    #   memory_limit: 512MiB
`

// nameSamples stand under the mappings of names, which are empty by default.
var nameSamples = map[reflect.Type]string{
	reflect.TypeFor[Profile]():        profileSample,
	reflect.TypeFor[Issuer]():         issuerSample,
	reflect.TypeFor[UpstreamSecret](): secretSample,
	reflect.TypeFor[Command]():        commandSample,
}

// exampleWidth is where comments of the example are broken.
const exampleWidth = 88

// Example is the annotated example: every key with its meaning and its default.
func Example() []byte {
	var b bytes.Buffer
	b.WriteString(exampleHead)
	writeExample(&b, reflect.ValueOf(Default()), 0, make(map[reflect.Type]bool))
	return b.Bytes()
}

// writeExample writes the keys of the section v. Keys of a section of the same
// type as one before are not explained again.
func writeExample(b *bytes.Buffer, v reflect.Value, depth int, explained map[reflect.Type]bool) {
	again := explained[v.Type()]
	explained[v.Type()] = true
	indent := strings.Repeat("  ", depth)
	for _, f := range fieldsOf(v.Type()) {
		if depth == 0 {
			b.WriteByte('\n')
		}
		if !again {
			comment(b, indent, describe(f))
		}
		value := v.Field(f.index)
		switch shapeOf(f.typ) {
		case section:
			fmt.Fprintf(b, "%s%s:\n", indent, f.key)
			writeExample(b, value, depth+1, explained)
		case named:
			fmt.Fprintf(b, "%s%s: {}\n%s", indent, f.key, nameSamples[f.typ.Elem()])
		case text:
			fmt.Fprintf(b, "%s%s: %s\n", indent, f.key, quoteEmpty(write(value)))
		default:
			fmt.Fprintf(b, "%s%s: %s\n", indent, f.key, write(value))
		}
	}
}

// describe is the help of f with what its other tags say.
func describe(f field) string {
	switch {
	case len(f.enum) > 0 && !strings.Contains(f.help, f.enum[0]+":"):
		return f.help + " One of " + strings.Join(f.enum, ", ") + "."
	case f.key != "version" && f.min != "" && f.key != "bootstrap_expect":
		return f.help + " From " + f.min + " to " + f.max + "."
	default:
		return f.help
	}
}

// comment writes words as lines of comment.
func comment(b *bytes.Buffer, indent, words string) {
	line := indent + "#"
	for word := range strings.FieldsSeq(words) {
		if len(line)+1+len(word) > exampleWidth {
			b.WriteString(line + "\n")
			line = indent + "#"
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
}

func quoteEmpty(s string) string {
	if s == "" {
		return `""`
	}
	return s
}
