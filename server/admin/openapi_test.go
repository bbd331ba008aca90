package admin

import (
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/mcpraft/mcpraft/internal/fault"
	"github.com/mcpraft/mcpraft/server/adminapi"
)

type description struct {
	Paths      map[string]map[string]any `yaml:"paths"`
	Components struct {
		Schemas map[string]schema `yaml:"schemas"`
	} `yaml:"components"`
}

type schema struct {
	Properties map[string]any `yaml:"properties"`
}

func openAPI(t *testing.T) (d description, text string) {
	t.Helper()
	data, err := os.ReadFile("../../docs/api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	return d, string(data)
}

func TestEveryRouteIsDescribedAndNothingElse(t *testing.T) {
	d, _ := openAPI(t)
	var described []string
	operations := map[string]bool{}
	for path, item := range d.Paths {
		for method, operation := range item {
			if method == "parameters" {
				continue
			}
			described = append(described, strings.ToUpper(method)+" "+path)
			id, _ := operation.(map[string]any)["operationId"].(string)
			operations[id] = true
		}
	}
	slices.Sort(described)
	var served []string
	for _, pattern := range newFixture(t, refusing{}).api.paths() {
		served = append(served, strings.ReplaceAll(pattern, "...}", "}"))
	}
	if !slices.Equal(described, served) {
		t.Errorf("described and served routes differ\ndescribed: %q\nserved:    %q", described, served)
	}
	for _, o := range adminapi.Operations() {
		if !operations[o.Name] {
			t.Errorf("operation %s is not described", o.Name)
		}
	}
}

func TestEveryFieldIsDescribed(t *testing.T) {
	d, _ := openAPI(t)
	for name, v := range map[string]any{
		"Entry": adminapi.Entry{}, "EntrySpec": adminapi.EntrySpec{}, "Session": adminapi.Session{}, "SessionSpec": adminapi.SessionSpec{},
		"CreatedSession": adminapi.CreatedSession{}, "SessionSettings": adminapi.SessionSettings{}, "Upstream": adminapi.Upstream{}, "Catalogue": adminapi.Catalogue{}, "Quarantined": adminapi.Quarantined{},
		"UpstreamSpec": adminapi.UpstreamSpec{}, "Process": adminapi.Process{}, "UpstreamLog": adminapi.UpstreamLog{}, "LogLine": adminapi.LogLine{}, "MissingLog": adminapi.MissingLog{}, "Pools": adminapi.Pools{}, "PoolState": adminapi.PoolState{}, "Pool": adminapi.Pool{}, "Member": adminapi.Member{}, "Leader": adminapi.Leader{}, "Cluster": adminapi.Cluster{},
		"Status": adminapi.Status{}, "Digest": adminapi.Digest{}, "DigestCheck": adminapi.DigestCheck{}, "Worker": adminapi.Worker{}, "Check": adminapi.Check{},
		"Health": adminapi.Health{}, "Receipt": adminapi.Receipt{}, "Principal": adminapi.Principal{},
		"Token": adminapi.Token{}, "TokenSpec": adminapi.TokenSpec{}, "CreatedToken": adminapi.CreatedToken{},
		"NewCredential": adminapi.NewCredential{}, "Credential": adminapi.Credential{},
		"WorkLine": adminapi.WorkLine{}, "Backup": adminapi.Backup{}, "BackupHold": adminapi.BackupHold{}, "BackupCheck": adminapi.BackupCheck{},
		"BackupStatus": adminapi.BackupStatus{}, "BackupVerified": adminapi.BackupVerified{}, "BackupPruning": adminapi.BackupPruning{}, "BackupVerdict": adminapi.BackupVerdict{}, "BackupProbe": adminapi.BackupProbe{}, "BackupStep": adminapi.BackupStep{},
	} {
		want := slices.Sorted(slices.Values(jsonNames(reflect.TypeOf(v))))
		got := slices.Sorted(maps.Keys(d.Components.Schemas[name].Properties))
		if !slices.Equal(got, want) {
			t.Errorf("schema %s has %q, the type has %q", name, got, want)
		}
	}
}

func jsonNames(t reflect.Type) []string {
	var names []string
	for f := range t.Fields() {
		if f.Anonymous {
			names = append(names, jsonNames(f.Type)...)
			continue
		}
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "-" {
			names = append(names, name)
		}
	}
	return names
}

func TestEveryErrorCodeIsDescribed(t *testing.T) {
	_, text := openAPI(t)
	for k := fault.Kind(1); k.Known(); k++ {
		if !strings.Contains(text, k.String()) {
			t.Errorf("code %s is not described", k)
		}
	}
}
