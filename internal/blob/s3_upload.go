package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/mcpraft/mcpraft/internal/fault"
)

const (
	// partBytes is the size of the parts of an upload, and of the one buffer that it
	// takes.
	partBytes = 8 << 20
	maxParts  = 10_000 // S3 knows no more: the largest object has 80 GiB

	abortTimeout = time.Minute
)

// An upload sends one object in parts, one after the other. The library's own
// loses If-None-Match on the way to the last request, where it counts, and takes a
// source that breaks with io.ErrUnexpectedEOF for one that ends.
type upload struct {
	s      *S3
	object string
	id     string
	parts  []minio.CompletePart
}

// sha256Hex is sent with each request and checked by the server, also over TLS. It
// takes the place of the signatures per chunk that the library sends over HTTP:
// those break the connection when an object is empty.
func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Put implements Store. An object of up to partBytes is one request; a larger one
// is uploaded in parts, which the bucket shows as one object at the end.
func (s *S3) Put(ctx context.Context, name string, body io.Reader, when Condition) error {
	if err := ValidName(name); err != nil {
		return err
	}
	o := minio.PutObjectOptions{DisableContentSha256: true} // that is: no signature per chunk, see sha256Hex
	if when == IfAbsent {
		o.SetMatchETagExcept("*")
	}
	source := &bodyReader{ctx: ctx, body: body}
	var first bytes.Buffer
	if _, err := io.CopyN(&first, source, partBytes); err != nil && err != io.EOF {
		return source.err
	}
	if first.Len() < partBytes {
		_, err := s.core.PutObject(ctx, s.bucket, s.prefix+name, bytes.NewReader(first.Bytes()), int64(first.Len()), "", sha256Hex(first.Bytes()), o)
		return s.fault(ctx, name, err)
	}
	return s.upload(ctx, name, first.Bytes(), source, o)
}

// upload sends an object of at least one whole part; buffer holds the first. What
// was sent of one that fails is given up at the bucket as well.
func (s *S3) upload(ctx context.Context, name string, buffer []byte, source *bodyReader, o minio.PutObjectOptions) error {
	u := &upload{s: s, object: s.prefix + name}
	var err error
	if u.id, err = s.core.NewMultipartUpload(ctx, s.bucket, u.object, o); err != nil {
		return s.fault(ctx, name, err)
	}
	if err = u.send(ctx, buffer, source); err == nil {
		_, err = s.core.CompleteMultipartUpload(ctx, s.bucket, u.object, u.id, u.parts, o)
	}
	if err == nil {
		return nil
	}
	u.abort(ctx)
	if source.err != nil {
		return source.err
	}
	return s.fault(ctx, name, err)
}

// send uploads what buffer holds, then what source yields.
func (u *upload) send(ctx context.Context, buffer []byte, source io.Reader) error {
	for n := len(buffer); n > 0; {
		if len(u.parts) == maxParts {
			return fault.New(fault.TooLarge, "an object has at most %d parts of %d bytes", maxParts, partBytes)
		}
		number := len(u.parts) + 1
		o := minio.PutObjectPartOptions{Sha256Hex: sha256Hex(buffer[:n]), DisableContentSha256: true}
		part, err := u.s.core.PutObjectPart(ctx, u.s.bucket, u.object, u.id, number, bytes.NewReader(buffer[:n]), int64(n), o)
		if err != nil {
			return err
		}
		u.parts = append(u.parts, minio.CompletePart{PartNumber: number, ETag: part.ETag})
		if n, err = io.ReadFull(source, buffer); err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return err // a bodyReader never says io.ErrUnexpectedEOF of its own
		}
	}
	return nil
}

// abort gives up the parts, also when ctx has ended. One that fails leaves parts
// that cost money and that no list shows: a bucket's lifecycle rule removes them.
func (u *upload) abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	_ = u.s.core.AbortMultipartUpload(ctx, u.s.bucket, u.object, u.id)
}
