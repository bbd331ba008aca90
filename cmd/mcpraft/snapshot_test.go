package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/server/adminapi"
)

// The whole way: a state that is saved while the node runs begins a cluster anew,
// on a new timeline, and its sessions have all of their time before them.
func TestASnapshotBeginsTheClusterAnew(t *testing.T) {
	file, addr := writeNode(t, false)
	dir := t.TempDir()
	stop := startServer(t, file)
	client, err := adminapi.New(adminapi.Config{Addrs: []string{addr}, Token: testToken})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	receipt, _, err := client.Register(t.Context(), &adminapi.RegisterRequest{Type: "tool", Key: "search", EntrySpec: adminapi.EntrySpec{Location: "http://10.0.0.5/mcp"}})
	if err != nil {
		t.Fatal(err)
	}
	session, _, err := client.CreateSession(t.Context(), &adminapi.CreateSessionRequest{})
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(dir, "backup.keys")
	var key struct{ Key string }
	runJSON(t, &key, "keys", "generate", keys)

	plain, sealed := filepath.Join(dir, "plain"), filepath.Join(dir, "sealed")
	reach := []string{"--addr", addr, "--token", testToken}
	var info, sealedInfo snapshotInfo
	runJSON(t, &info, append(reach, "snapshot", "save", plain)...)
	runJSON(t, &sealedInfo, append(reach, "snapshot", "save", sealed, "--key-file", keys, "--stale")...)
	if info.Cluster != "test" || info.Counts["sessions"] != 1 || info.Compression != "zstd" || info.Cipher != "none" {
		t.Errorf("saved %+v", info)
	}
	if sealedInfo.Cipher != "aes_gcm" || len(sealedInfo.Keys) != 1 || sealedInfo.Keys[0] != key.Key || sealedInfo.Digest != info.Digest {
		t.Errorf("sealed %+v, the state is %s, the key %s", sealedInfo, info.Digest, key.Key)
	}
	fails(t, 5, "exists already", append(reach, "snapshot", "save", plain)...)
	if code := stop(); code != 0 {
		t.Fatalf("exit = %d", code)
	}

	for _, level := range []string{"files", "decode", "drill"} {
		var v verification
		if runJSON(t, &v, "snapshot", "verify", sealed, "--level", level, "--key-file", keys); v.Index != sealedInfo.Index {
			t.Errorf("verify at level %s: %+v", level, v)
		}
	}
	fails(t, 4, "none of the given keys", "snapshot", "verify", sealed)
	data := filepath.Join(filepath.Dir(file), "data")
	fails(t, 5, "is not empty", "snapshot", "restore", plain, "-c", file, "--yes")

	former := filepath.Join(dir, "former")
	if err := os.Rename(data, former); err != nil {
		t.Fatal(err)
	}
	fails(t, 2, "add --yes to go ahead", "snapshot", "restore", sealed, "-c", file, "--key-file", keys)
	var plan, done restoredCluster
	runJSON(t, &plan, "snapshot", "restore", sealed, "-c", file, "--key-file", keys, "--dry-run")
	if _, err := os.Stat(data); err == nil || !plan.DryRun {
		t.Errorf("a dry run made %s: %+v", data, plan)
	}
	before := time.Now()
	runJSON(t, &done, "snapshot", "restore", sealed, "-c", file, "--key-file", keys, "--yes")
	if done.From != info.Timeline || done.To == done.From || done.Sessions != 1 || done.Index != sealedInfo.Index {
		t.Errorf("restored %+v", done)
	}
	if err := carryOwnKeys(former, data); err != nil {
		t.Fatal(err)
	}

	defer startServer(t, file)()
	entry, at, err := client.WhereIs(t.Context(), &adminapi.WhereIsRequest{Type: "tool", Key: "search"})
	if err != nil || entry.Revision != receipt.Revision || at.Timeline != done.To {
		t.Errorf("entry = %+v at %+v, %v; want revision %d on timeline %s", entry, at, err, receipt.Revision, done.To)
	}
	lives, _, err := client.Session(t.Context(), &adminapi.SessionRequest{ID: session.ID})
	if err != nil || lives.LastActive.Time().Before(before.Add(-time.Second)) {
		t.Errorf("session = %+v, %v: its time should begin at %v", lives, err, before)
	}
}

// Every byte of the file counts, and damage has an exit code of its own.
func TestADamagedSnapshotEndsWithSeven(t *testing.T) {
	file, addr := writeNode(t, false)
	defer startServer(t, file)()
	path := filepath.Join(t.TempDir(), "state")
	runJSON(t, new(snapshotInfo), "--addr", addr, "--token", testToken, "snapshot", "save", path, "--compression", "none")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	into := filepath.Join(t.TempDir(), "data")
	for _, at := range []int{0, 20, len(whole) / 2, len(whole) - 1} {
		damaged := append([]byte(nil), whole...)
		damaged[at] ^= 1
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		fails(t, 7, path, "snapshot", "verify", path, "--level", "files")
		fails(t, 7, path, "snapshot", "restore", path, "--into", into, "--node", "n1", "--yes")
	}
	if err := os.WriteFile(path, whole[:len(whole)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	fails(t, 7, "trailer", "snapshot", "verify", path)
	if _, err := os.Stat(into); err == nil {
		t.Error("a damaged snapshot was restored")
	}
}
