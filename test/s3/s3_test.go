package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpraft/mcpraft/internal/blob"
	"github.com/mcpraft/mcpraft/internal/blob/blobtest"
	"github.com/mcpraft/mcpraft/internal/fault"
)

func open(t *testing.T, o blob.S3Options) *blob.S3 {
	t.Helper()
	s, err := blob.OpenS3(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBucketKeepsTheContract(t *testing.T) {
	for scheme, useTLS := range map[string]bool{"http": false, "https": true} {
		t.Run(scheme, func(t *testing.T) {
			server := Start(t, useTLS)
			var number atomic.Int32
			blobtest.Test(t, func(t *testing.T) blob.Store {
				o := server.Bucket(fmt.Sprintf("contract-%d", number.Add(1)))
				return open(t, o)
			})
		})
	}
}

func TestMissingPermissionsAreNamed(t *testing.T) {
	server := Start(t, false)
	all := []string{"s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:DeleteObject", "s3:AbortMultipartUpload"}
	for i, missing := range []string{"", "s3:DeleteObject", "s3:ListBucket", "s3:GetObject", "s3:PutObject"} {
		bucket := fmt.Sprintf("permissions-%d", i)
		server.Bucket(bucket)
		granted := slices.DeleteFunc(slices.Clone(all), func(a string) bool { return a == missing })
		_, err := blob.Probe(t.Context(), open(t, server.User(bucket, fmt.Sprintf("user-%d", i), granted...)))
		if missing == "" {
			if err != nil {
				t.Errorf("with all permissions: %v", err)
			}
			continue
		}
		e, _ := errors.AsType[*fault.Error](err)
		if e == nil || e.Kind != fault.Forbidden || !strings.Contains(e.Hint, missing) {
			t.Errorf("without %s: %v, hint %q", missing, err, fault.As(err).Hint)
		}
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	server := Start(t, true)
	good := server.Bucket("settings")
	write := func(text string) string {
		path := t.TempDir() + "/key"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		change func(*blob.S3Options)
		kind   fault.Kind
		hint   string
	}{
		"no such bucket": {func(o *blob.S3Options) { o.Bucket = "nowhere" }, fault.Invalid, "make the bucket first"},
		"wrong secret":   {func(o *blob.S3Options) { o.SecretKeyFile = write("wrong") }, fault.Unauthenticated, "secret_key_file"},
		"unknown key":    {func(o *blob.S3Options) { o.AccessKeyFile = write("nobody") }, fault.Unauthenticated, "access_key_file"},
		"no ca_file":     {func(o *blob.S3Options) { o.CAFile = "" }, fault.Unreachable, "ca_file"},
		"nobody there":   {func(o *blob.S3Options) { o.Endpoint = "https://127.0.0.1:1" }, fault.Unreachable, "endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			c.change(&o)
			_, err := blob.Probe(t.Context(), open(t, o))
			e, _ := errors.AsType[*fault.Error](err)
			if e == nil || e.Kind != c.kind || !strings.Contains(e.Hint, c.hint) {
				t.Errorf("error is %v (%v), want %v, hint %q", err, fault.Of(err), c.kind, c.hint)
			}
		})
	}
}

func TestRotatedKeysAreReadAgain(t *testing.T) {
	server := Start(t, false)
	o := server.Bucket("rotation")
	right, err := os.ReadFile(o.SecretKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, o)
	change := func(secret []byte, age time.Duration) {
		if err := os.WriteFile(o.SecretKeyFile, secret, 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age) // a new modification time, however coarse the clock of the file system
		if err := os.Chtimes(o.SecretKeyFile, at, at); err != nil {
			t.Fatal(err)
		}
	}
	change([]byte("wrong"), time.Hour)
	if err := s.Put(t.Context(), "object", strings.NewReader("x"), blob.Replace); fault.Of(err) != fault.Unauthenticated {
		t.Errorf("with a wrong secret: %v", err)
	}
	change(right, time.Minute)
	if err := s.Put(t.Context(), "object", strings.NewReader("x"), blob.Replace); err != nil {
		t.Errorf("with the right one again: %v", err)
	}
}

// A server that dies in the middle is an error that may be retried, and what was
// stored is there when it comes back.
func TestADeadServerIsUnreachable(t *testing.T) {
	server := Start(t, false)
	s := open(t, server.Bucket("death"))
	data := bytes.Repeat([]byte("x"), 20<<20)
	if err := s.Put(t.Context(), "object", bytes.NewReader(data), blob.Replace); err != nil {
		t.Fatal(err)
	}
	body, err := s.Get(t.Context(), "object", blob.Range{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.CopyN(io.Discard, body, 1000); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if n, err := io.Copy(io.Discard, body); fault.Of(err) != fault.Unreachable {
		t.Errorf("reading went on for %d bytes and ended with %v", n, err)
	}
	if err := s.Put(t.Context(), "object", bytes.NewReader(data), blob.Replace); fault.Of(err) != fault.Unreachable {
		t.Errorf("Put = %v", err)
	}
	server.Run()
	if info, err := s.Stat(t.Context(), "object"); err != nil || info.Size != int64(len(data)) {
		t.Errorf("after the restart: %+v, %v", info, err)
	}
}

func TestASilentServerEndsWithTheContext(t *testing.T) {
	server := Start(t, false)
	s := open(t, server.Bucket("silence"))
	server.Pause()
	defer server.Resume()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Put(ctx, "object", strings.NewReader("x"), blob.Replace); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put = %v", err)
	}
}
