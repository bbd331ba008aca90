package mcp

import (
	"errors"
	"strconv"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/internal/strictjson"
)

// The error codes of JSON-RPC and MCP that we know.
const (
	CodeParse              = -32700
	CodeInvalidRequest     = -32600
	CodeMethodNotFound     = -32601
	CodeInvalidParams      = -32602
	CodeInternal           = -32603
	CodeResourceNotFound   = -32002 // legacy; modern servers say CodeInvalidParams
	CodeHeaderMismatch     = -32020 // modern
	CodeMissingCapability  = -32021 // modern; data.requiredCapabilities
	CodeUnsupportedVersion = -32022 // modern; data.supported, data.requested
	CodeURLElicitation     = -32042 // 2025-11-25; data.elicitations
	CodeDeclined           = -1     // a user declined a sampling request
)

// An Error is the error member of a JSON-RPC message. One that came in keeps its
// data as it was; code and message are what others read.
type Error struct {
	Code    int
	Message string
	Data    []byte // one JSON value; nil for none

	// ID is the id of the message that Parse refused, "" if it could not be told.
	// It is no part of the error's wire form.
	ID ID
}

// Error is the message.
func (e *Error) Error() string { return e.Message }

// wire is the object of the error.
func (e *Error) wire() []byte {
	out := strconv.AppendInt([]byte(`{"code":`), int64(e.Code), 10)
	out = append(out, `,"message":`...)
	out = strictjson.AppendQuote(out, e.Message)
	if e.Data != nil {
		out = append(append(out, `,"data":`...), e.Data...)
	}
	return append(out, '}')
}

// parseError reads the object of an error; false if it is none.
func parseError(raw []byte) (*Error, bool) {
	if raw[0] != '{' {
		return nil, false
	}
	var e Error
	code, err := strconv.Atoi(string(Field(raw, "code")))
	message, ok := Text(Field(raw, "message"))
	if err != nil || !ok {
		return nil, false //nolint:nilerr // it is no error object
	}
	e.Code, e.Message, e.Data = code, message, Field(raw, "data")
	return &e, true
}

// FromFault is err for a client: code and message of its fault, and as data the
// details, the id of the request to look for in the logs, and whether the same call
// may succeed later. An *Error in the chain stays as it is.
func FromFault(err error, requestID string) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	f := fault.As(err)
	if f == nil {
		f = &fault.Error{Kind: fault.Internal, Message: "internal error"}
	}
	data := faultData{Details: f.Details, RequestID: requestID, Gateway: gatewayData{Reason: f.Kind.String(), Retryable: f.Kind.Retryable()}}
	raw, err := Marshal(data)
	if err != nil {
		raw = nil
	}
	message := f.Message
	if f.Hint != "" {
		message += "; " + f.Hint
	}
	return &Error{Code: f.Kind.RPC(), Message: message, Data: raw}
}

type faultData struct {
	Details   map[string]string `json:"details,omitzero"`
	RequestID string            `json:"request_id,omitzero"`
	Gateway   gatewayData       `json:"gateway"`
}

type gatewayData struct {
	Reason    string `json:"reason"`
	Retryable bool   `json:"retryable"`
}
