package admin

import (
	"net/http"
	"strings"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

// probe answers a health probe: 200 when every check passes, else 503. With
// ?verbose it lists the checks; ?exclude=name leaves one out.
func (a *API) probe(x *exchange, r *http.Request) error {
	args := newArgs(x, r)
	verbose := args.flag("verbose")
	exclude := args.text("exclude")
	if err := args.done(); err != nil {
		return err
	}
	checks := a.c.Observer.Checks(r.URL.Path)
	if exclude != "" {
		kept, err := leaveOut(checks, strings.Split(exclude, ","))
		if err != nil {
			return err
		}
		checks = kept
	}
	health := adminapi.Health{Status: "ok"}
	status := http.StatusOK
	if !passed(checks) {
		health.Status, status = "failing", http.StatusServiceUnavailable
	}
	if verbose {
		health.Checks = checks
	}
	return x.json(status, health)
}

func leaveOut(checks []adminapi.Check, names []string) ([]adminapi.Check, error) {
	left := make(map[string]bool, len(names))
	for _, name := range names {
		left[name] = true
	}
	var kept []adminapi.Check
	for _, c := range checks {
		if left[c.Name] {
			delete(left, c.Name)
			continue
		}
		kept = append(kept, c)
	}
	for _, name := range names {
		if left[name] {
			return nil, fault.New(fault.NotFound, "exclude: there is no check %q", name).
				WithHint("?verbose lists the checks")
		}
	}
	return kept, nil
}
