package blob

import (
	"context"
	"errors"
	"net/http"

	"github.com/minio/minio-go/v7"

	"github.com/mcpraft/mcpraft/internal/fault"
)

// fault gives an error of the bucket its kind. The server's own words are in the
// message: they are what an operator can search for.
func (s *S3) fault(ctx context.Context, name string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if e, ours := errors.AsType[*fault.Error](err); ours {
		return e
	}
	r := minio.ToErrorResponse(err)
	kind, hint := s3Kind(r)
	if kind == fault.NotFound {
		return notFound(s, name)
	}
	if kind == fault.Conflict {
		return exists(s, name)
	}
	if r.StatusCode == 0 {
		return fault.New(kind, "%s does not answer: %v", s, err).WithHint("%s", hint)
	}
	return fault.New(kind, "%s refuses %s: %s (%s, status %d)", s, name, r.Message, r.Code, r.StatusCode).WithHint("%s", hint)
}

// s3Kind is what an answer of a bucket means.
func s3Kind(r minio.ErrorResponse) (k fault.Kind, hint string) {
	switch r.Code {
	case minio.NoSuchBucket:
		return fault.Invalid, "make the bucket first, or check its name and the endpoint"
	case minio.NoSuchKey:
		return fault.NotFound, ""
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "InvalidAccessKeyID":
		return fault.Unauthenticated, "check access_key_file and secret_key_file"
	case "RequestTimeTooSkewed":
		return fault.Unauthenticated, "the clock of this machine differs from the server's: set it"
	case "AuthorizationHeaderMalformed", "PermanentRedirect":
		return fault.Invalid, "check region and endpoint: the bucket is elsewhere"
	case minio.NotImplemented:
		return fault.Unsupported, "the server cannot do it; use another, or a later version"
	}
	switch r.StatusCode {
	case 0:
		return fault.Unreachable, "check the endpoint, ca_file and the network"
	case http.StatusNotFound:
		return fault.NotFound, ""
	case http.StatusUnauthorized:
		return fault.Unauthenticated, "check access_key_file and secret_key_file"
	case http.StatusForbidden:
		return fault.Forbidden, "give this key the permission: `mcpraft backup test-destination` names what is missing"
	case http.StatusPreconditionFailed, http.StatusConflict:
		return fault.Conflict, ""
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return fault.Overloaded, "it will be tried again"
	}
	if r.StatusCode >= http.StatusInternalServerError {
		return fault.Unavailable, "it will be tried again"
	}
	return fault.Invalid, ""
}
