package blob

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/mcpraft/mcpraft/internal/fault"
)

const (
	defaultRegion = "us-east-1"
	s3Retries     = 4                // attempts of the library, with pauses, before an error is returned
	dialTimeout   = 10 * time.Second // for a connection, and again for its TLS
	stallTimeout  = 2 * time.Minute  // without a byte in either direction: the connection is given up
)

// S3Options say which bucket, and how to reach it.
type S3Options struct {
	Endpoint string // "https://s3.eu-central-1.amazonaws.com", "http://127.0.0.1:9000"; the scheme is required
	Region   string // "" means us-east-1, which most servers that are not Amazon's accept
	Bucket   string // must exist
	Prefix   string // of all names, without a "/" at the end; may be empty

	// PathStyle puts the bucket behind the host instead of in front of it. Nil
	// means in front of it at Amazon, behind it elsewhere.
	PathStyle *bool

	CAFile string // PEM certificates to trust instead of the system's; "" means the system's

	// AccessKeyFile and SecretKeyFile hold one line each. They are read again when
	// they change, so keys can be rotated beneath a running node.
	AccessKeyFile, SecretKeyFile string
}

// Validate reports every mistake in o that can be seen without the network.
func (o S3Options) Validate() error {
	var errs []error
	add := func(field, format string, args ...any) {
		errs = append(errs, fault.New(fault.Invalid, field+": "+format, args...))
	}
	if u, err := url.Parse(o.Endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil {
		add("endpoint", "%q is not of the form https://host:port", o.Endpoint)
	} else if u.Scheme == "http" && o.CAFile != "" {
		add("ca_file", "the endpoint %s does not use TLS", o.Endpoint)
	}
	if o.Bucket == "" {
		add("bucket", "is missing")
	}
	if o.Prefix != "" && ValidName(o.Prefix) != nil {
		add("prefix", "%q is not of parts like a-b_c.d with / between them", o.Prefix)
	}
	if o.AccessKeyFile == "" {
		add("access_key_file", "is missing")
	}
	if o.SecretKeyFile == "" {
		add("secret_key_file", "is missing")
	}
	return errors.Join(errs...)
}

// An S3 is a Store in a bucket.
type S3 struct {
	core   minio.Core
	bucket string
	prefix string // "" or with "/" at the end
	where  string
}

// OpenS3 is the store that o describes. Nothing is sent; Probe tells whether it
// works.
func OpenS3(o S3Options) (*S3, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	endpoint, _ := url.Parse(o.Endpoint) // validated
	transport, err := newTransport(o.CAFile)
	if err != nil {
		return nil, err
	}
	keys := &keyFiles{access: o.AccessKeyFile, secret: o.SecretKeyFile}
	if _, err := keys.Retrieve(); err != nil {
		return nil, err
	}
	lookup := minio.BucketLookupAuto
	if o.PathStyle != nil {
		lookup = minio.BucketLookupDNS
		if *o.PathStyle {
			lookup = minio.BucketLookupPath
		}
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds:        credentials.New(keys),
		Secure:       endpoint.Scheme == "https",
		Transport:    transport,
		Region:       cmp.Or(o.Region, defaultRegion),
		BucketLookup: lookup,
		MaxRetries:   s3Retries,
	})
	if err != nil {
		return nil, fault.New(fault.Invalid, "S3 destination: %v", err)
	}
	s := &S3{core: minio.Core{Client: client}, bucket: o.Bucket, where: "bucket " + o.Bucket + " at " + endpoint.Host}
	if o.Prefix != "" {
		s.prefix = o.Prefix + "/"
		s.where += ", " + s.prefix
	}
	return s, nil
}

// newTransport is the HTTP side: no proxy surprises but those of the environment,
// and no call that waits for ever on a connection that is dead.
func newTransport(caFile string) (*http.Transport, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fault.New(fault.Invalid, "ca_file: %v", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fault.New(fault.Invalid, "ca_file: %s has no PEM certificate", caFile)
		}
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &stallConn{Conn: conn}, nil
		},
		TLSClientConfig:     config,
		TLSHandshakeTimeout: dialTimeout,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     stallTimeout,
		DisableCompression:  true, // what is stored is what is read
	}, nil
}

// A stallConn gives up when nothing moves for stallTimeout.
type stallConn struct{ net.Conn }

func (c *stallConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(stallTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *stallConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(stallTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// String is the bucket and where it is.
func (s *S3) String() string { return s.where }

// Get implements Store.
func (s *S3) Get(ctx context.Context, name string, r Range) (io.ReadCloser, error) {
	if err := ValidName(name); err != nil {
		return nil, err
	}
	var o minio.GetObjectOptions
	if r != (Range{}) {
		last := int64(0) // to the end
		if r.Length > 0 {
			last = r.Offset + r.Length - 1
		}
		if err := setRange(&o, r.Offset, last); err != nil {
			return nil, err
		}
	}
	body, _, _, err := s.core.GetObject(ctx, s.bucket, s.prefix+name, o)
	if minio.ToErrorResponse(err).StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return io.NopCloser(strings.NewReader("")), nil // it begins behind the end
	}
	if err != nil {
		return nil, s.fault(ctx, name, err)
	}
	return &s3Body{ctx: ctx, s: s, name: name, body: body}, nil
}

// setRange asks for the bytes from first to last, or to the end if last is 0.
func setRange(o *minio.GetObjectOptions, first, last int64) error {
	if first == 0 && last == 0 { // the library takes this for "everything"
		o.Set("Range", "bytes=0-0")
		return nil
	}
	if err := o.SetRange(first, last); err != nil {
		return fault.New(fault.Invalid, "range from %d to %d: %v", first, last, err)
	}
	return nil
}

// An s3Body gives errors on the way their kind.
type s3Body struct {
	ctx  context.Context
	s    *S3
	name string
	body io.ReadCloser
}

func (b *s3Body) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if err != nil && err != io.EOF {
		err = b.s.fault(b.ctx, b.name, err)
	}
	return n, err
}

func (b *s3Body) Close() error { return b.body.Close() }

// Stat implements Store.
func (s *S3) Stat(ctx context.Context, name string) (Info, error) {
	if err := ValidName(name); err != nil {
		return Info{}, err
	}
	info, err := s.core.Client.StatObject(ctx, s.bucket, s.prefix+name, minio.StatObjectOptions{})
	if err != nil {
		return Info{}, s.fault(ctx, name, err)
	}
	return Info{Name: name, Size: info.Size, Modified: info.LastModified}, nil
}

// List implements Store. It asks for 1,000 names at a time.
func (s *S3) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // ends what the library has begun when yield says no
		o := minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true}
		if after != "" {
			o.StartAfter = s.prefix + after
		}
		for object := range s.core.Client.ListObjectsIter(ctx, s.bucket, o) {
			if object.Err != nil {
				yield(Info{}, s.fault(ctx, prefix, object.Err))
				return
			}
			name := strings.TrimPrefix(object.Key, s.prefix)
			if ValidName(name) != nil {
				continue // not ours: a placeholder of a folder, another program's
			}
			if !yield(Info{Name: name, Size: object.Size, Modified: object.LastModified}, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil { // the library just stops
			yield(Info{}, err)
		}
	}
}

// Delete implements Store.
func (s *S3) Delete(ctx context.Context, name string) error {
	if err := ValidName(name); err != nil {
		return err
	}
	err := s.fault(ctx, name, s.core.Client.RemoveObject(ctx, s.bucket, s.prefix+name, minio.RemoveObjectOptions{}))
	if fault.Of(err) == fault.NotFound {
		return nil
	}
	return err
}
