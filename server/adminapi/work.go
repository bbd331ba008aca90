package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// WorkType is the media type of an answer to work that takes its time: lines of
// JSON, each a WorkLine. The last one has a result or an error; an answer without
// one was cut off.
const WorkType = "application/x-ndjson"

// A WorkLine is one line of such an answer.
type WorkLine struct {
	Bytes  *int64          `json:"bytes,omitempty"`  // of the state that are done so far
	Result json.RawMessage `json:"result,omitempty"` // the end: it is done
	Error  *Error          `json:"error,omitempty"`  // the end: it failed
}

// A Progress is told how many bytes of the state are done; nil tells nobody. It
// is called by the goroutine that waits for the answer.
type Progress func(bytes int64)

// work sends a request for work and waits for its end. It has no limit but
// StallTimeout. When ctx ends, the work is given up.
func work[T any](ctx context.Context, c *Client, method, path string, body any, told Progress) (result T, err error) {
	var data []byte
	if body != nil {
		if data, err = json.Marshal(body); err != nil {
			return result, err
		}
	}
	err = c.long(ctx, method, path, nil, data, func(_ Info, answer io.Reader) error {
		line, err := lastLine(answer, told)
		if err != nil {
			return err
		}
		if line.Error != nil {
			return line.Error.fault(fault.Parse(line.Error.Code))
		}
		return json.Unmarshal(line.Result, &result)
	})
	return result, err
}

// lastLine reads lines up to the one that ends the work.
func lastLine(r io.Reader, told Progress) (WorkLine, error) {
	for dec := json.NewDecoder(r); ; {
		var line WorkLine
		err := dec.Decode(&line)
		switch {
		case errors.Is(err, io.EOF):
			return line, fault.New(fault.Unreachable, "the answer ended before the work did")
		case err != nil:
			return line, err
		case line.Result != nil || line.Error != nil:
			return line, nil
		case line.Bytes != nil && told != nil:
			told(*line.Bytes)
		}
	}
}

// repeatable says whether a request for work may be sent to another node when an
// answer is lost.
func repeatable(method string) repetition {
	if method == http.MethodGet {
		return harmless
	}
	return risky
}
