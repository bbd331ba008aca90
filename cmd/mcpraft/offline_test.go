package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

// runJSON runs a command line with -o json and reads its answer into v.
func runJSON(t *testing.T, v any, args ...string) {
	t.Helper()
	a, stdout, stderr := testApp()
	if code := a.run(t.Context(), append(args, "-o", "json")); code != 0 {
		t.Fatalf("%s: exit %d, %s", strings.Join(args, " "), code, stderr)
	}
	if err := json.Unmarshal(stdout.Bytes(), v); err != nil {
		t.Fatalf("%s: %v in %s", strings.Join(args, " "), err, stdout)
	}
}

// fails runs a command line that must end with the code and say the words.
func fails(t *testing.T, code int, words string, args ...string) {
	t.Helper()
	a, stdout, stderr := testApp()
	if got := a.run(t.Context(), args); got != code || stdout.Len() > 0 || !strings.Contains(stderr.String(), words) {
		t.Errorf("%s: exit %d, stdout %q, stderr %q; want %d and %q", strings.Join(args, " "), got, stdout, stderr, code, words)
	}
}

// What was acknowledged before is there after a recovery from the node's own
// log, on a new timeline, and the former data is kept.
func TestForceNewClusterKeepsWhatWasAcknowledged(t *testing.T) {
	file, addr := writeNode(t, false)
	data := filepath.Join(filepath.Dir(file), "data")
	stop := startServer(t, file)
	client, err := adminapi.New(adminapi.Config{Addrs: []string{addr}, Token: testToken})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	register := &adminapi.RegisterRequest{Type: "tool", Key: "search", EntrySpec: adminapi.EntrySpec{Location: "http://10.0.0.5/mcp"}}
	receipt, info, err := client.Register(t.Context(), register)
	if err != nil {
		t.Fatal(err)
	}
	fails(t, 5, "in use by another process", "offline", "status", "-c", file)
	if code := stop(); code != 0 {
		t.Fatalf("exit = %d", code)
	}

	var before offlineStatus
	runJSON(t, &before, "offline", "status", "-c", file)
	if before.Node != "n1" || before.Cluster != "test" || before.Last.Index < info.Index {
		t.Errorf("status = %+v, want node n1 of test at or past index %d", before, info.Index)
	}
	var plan newCluster
	runJSON(t, &plan, "offline", "force-new-cluster", "--data-dir", data, "--dry-run")
	fails(t, 2, "add --yes to go ahead", "offline", "force-new-cluster", "-c", file)
	var still offlineStatus
	if runJSON(t, &still, "offline", "status", "--data-dir", data); still != before {
		t.Errorf("a dry run and a refusal changed %+v into %+v", before, still)
	}

	var done newCluster
	runJSON(t, &done, "offline", "force-new-cluster", "-c", file, "--yes")
	if !plan.DryRun || done.DryRun || plan.Last != done.Last || done.Last != before.Last || done.From != before.Timeline {
		t.Errorf("plan %+v, done %+v, status before %+v", plan, done, before)
	}
	if _, err := os.Stat(done.PutAside); err != nil {
		t.Errorf("the former data is not kept: %v", err)
	}
	var after offlineStatus
	runJSON(t, &after, "offline", "status", "-c", file)
	if after.Timeline != done.To || after.Disk == before.Disk || after.Last != before.Last {
		t.Errorf("after = %+v, before %+v", after, before)
	}

	defer startServer(t, file)()
	if entry, _, err := client.WhereIs(t.Context(), &adminapi.WhereIsRequest{Type: "tool", Key: "search"}); err != nil || entry.Revision != receipt.Revision {
		t.Errorf("entry = %+v, %v, want revision %d", entry, err, receipt.Revision)
	}
}

func TestOfflineNamesWhatIsNoDataDirectory(t *testing.T) {
	fails(t, 3, "is not the data directory of a node", "offline", "status", "--data-dir", t.TempDir())
	fails(t, 3, "is not the data directory of a node", "offline", "force-new-cluster", "--data-dir", filepath.Join(t.TempDir(), "none"), "--yes")
}
