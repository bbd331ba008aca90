package workload

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/jepsen/history"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// counterPrefix is what counters are called.
const counterPrefix = "count-"

// counters change with time, as the keys of the registry do.
const counters = 30 * time.Second

// once raises a counter by one, by compare-and-set under an Idempotency-Key, and
// sends the same request again to other nodes: always when the outcome is unknown,
// often when it is known, as a client whose answer was lost would. Every answer
// must be the same, and the counter must have been raised once.
func (c *Client) once(ctx context.Context) {
	key := fmt.Sprint(counterPrefix, c.Clock.Now()/int64(counters))
	node := c.node()
	e, err := c.find(node, key, adminapi.ReadOptions{Consistency: adminapi.Linearizable})
	if err != nil && fault.Of(err) != fault.NotFound {
		return
	}
	number, _, _ := strings.Cut(e.Location, ":")
	n, _ := strconv.Atoi(number) // "" is 0
	value := fmt.Sprintf("%d:%s", n+1, c.value())
	request := "once-" + c.name + "-" + strconv.Itoa(c.count)
	err = c.raise(history.Increment, node, key, e, value, request)
	for _, other := range c.others(node) {
		if err == nil && c.rng.IntN(2) == 0 || ctx.Err() != nil {
			break
		}
		err = c.raise(history.Retry, other, key, e, value, request)
	}
	if err == nil && c.rng.IntN(10) == 0 {
		_ = c.raise(history.Misuse, c.node(), key, e, value+"-other", request)
	}
}

// raise sends the increment.
func (c *Client) raise(do, node, key string, from adminapi.Entry, value, request string) error {
	o := c.begin(node, do, key)
	o.Value, o.Expect, o.IfRevision, o.Request = value, from.Location, from.Revision, request
	ctx, cancel := c.patience()
	defer cancel()
	r := &adminapi.RegisterRequest{Type: entryType, Key: key, EntrySpec: adminapi.EntrySpec{Location: value}}
	r.IfMatch, r.IdempotencyKey = from.Revision, request
	receipt, info, err := c.admin[node].Register(ctx, r)
	c.changed(&o, receipt, info, err)
	return err
}
