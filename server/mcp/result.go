package mcp

import (
	"iter"

	"github.com/mcpraft/mcpraft/internal/strictjson"
)

// The values of resultType that the protocol knows. Modern results say one.
const (
	ResultComplete      = "complete"
	ResultInputRequired = "input_required"
	ResultTask          = "task" // with the tasks extension
)

// ResultType is what a result says it is. One that does not say is complete; ""
// stands for what is not a string.
func ResultType(result []byte) string {
	raw := Field(result, "resultType")
	if raw == nil {
		return ResultComplete
	}
	text, _ := Text(raw)
	return text
}

// An InputRequest is what a modern server asks for before it can answer.
type InputRequest struct {
	Key    string // names the answer in inputResponses
	Method string // one that AsksClient
	Params []byte // nil for none
}

// InputRequests are those of an input_required result, in their order. What is not
// well-formed among them has an empty Method.
func InputRequests(result []byte) iter.Seq[InputRequest] {
	return func(yield func(InputRequest) bool) {
		for m := range strictjson.Members(Field(result, "inputRequests")) {
			key, _ := Text(m.Name)
			method, _ := Text(Field(m.Value, "method"))
			if !yield(InputRequest{Key: key, Method: method, Params: Field(m.Value, "params")}) {
				return
			}
		}
	}
}

// InputRequired makes an input_required result. State is the text that the client
// brings back; "" for none.
func InputRequired(requests []InputRequest, state string) []byte {
	result := []byte(`{"resultType":"input_required"}`)
	for _, r := range requests {
		request := WithField(nil, Quote(r.Method), "method")
		if r.Params != nil {
			request = WithField(request, r.Params, "params")
		}
		result = WithField(result, request, "inputRequests", r.Key)
	}
	if state != "" {
		result = WithField(result, Quote(state), "requestState")
	}
	return result
}

// RequestState is the text that an input_required result gives, or that the params
// of the call after it bring back; false if there is none.
func RequestState(object []byte) (string, bool) { return Text(Field(object, "requestState")) }

// InputResponse is the client's answer to one input request; nil if params have
// none for that key.
func InputResponse(params []byte, key string) []byte { return Field(params, "inputResponses", key) }

// CacheHints reports whether a modern result of method must say ttlMs and
// cacheScope.
func CacheHints(method string) bool {
	switch method {
	case Discover, ToolsList, PromptsList, ResourcesList, TemplatesList, ResourcesRead:
		return true
	default:
		return false
	}
}
