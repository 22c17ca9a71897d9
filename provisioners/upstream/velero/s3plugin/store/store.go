// Package store keeps objects in an S3 store, as Velero's ObjectStore asks for it.
package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	// The size of a body is not known before: parts of this size are held in memory, one at a time.
	partBytes = 16 << 20
	tries     = 3
	// Beyond this a call has failed: what Velero stores by it are manifests and logs, not volumes.
	callBound = 10 * time.Minute
)

// As many keys as a store gives at once.
var pageKeys = 1000

// The keys of a location's config; Velero itself adds the last three, and credentialsFile.
var known = []string{
	"s3Url", "region", "s3ForcePathStyle", "profile", "credentialsFile", "bucket", "prefix", "caCert",
}

// Store is one S3 store; Init comes first.
type Store struct {
	client *minio.Core
}

// Init reads the config of a location. Keys are needed: s3Url (http or https), region; and a file of
// credentials, by the location's `credential` or by $AWS_SHARED_CREDENTIALS_FILE.
func (s *Store) Init(config map[string]string) error {
	for key := range config {
		if !slices.Contains(known, key) {
			return fmt.Errorf("config: unknown key %q; known are %v", key, known)
		}
	}
	address, err := url.Parse(config["s3Url"])
	if err != nil || address.Host == "" || (address.Scheme != "http" && address.Scheme != "https") {
		return fmt.Errorf("config: s3Url %q is no http or https URL of a host", config["s3Url"])
	}
	if address.Path != "" && address.Path != "/" {
		return fmt.Errorf("config: s3Url %q has a path; the bucket is given apart", config["s3Url"])
	}
	if config["region"] == "" {
		return errors.New("config: region is absent; requests are signed for one")
	}
	lookup := minio.BucketLookupAuto
	if text := config["s3ForcePathStyle"]; text != "" {
		force, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("config: s3ForcePathStyle %q is neither true nor false", text)
		}
		if force {
			lookup = minio.BucketLookupPath
		}
	}
	file := config["credentialsFile"]
	if file == "" {
		file = os.Getenv("AWS_SHARED_CREDENTIALS_FILE")
	}
	if file == "" {
		return errors.New("no credentials: the location names no credential, and $AWS_SHARED_CREDENTIALS_FILE is not set")
	}
	keys := credentials.NewFileAWSCredentials(file, config["profile"])
	if _, err := keys.GetWithContext(nil); err != nil {
		return fmt.Errorf("credentials in %s: %w", file, err)
	}
	transport, err := transportOf(config["caCert"])
	if err != nil {
		return err
	}
	s.client, err = minio.NewCore(address.Host, &minio.Options{
		Creds:        keys,
		Secure:       address.Scheme == "https",
		Transport:    transport,
		Region:       config["region"],
		BucketLookup: lookup,
		MaxRetries:   tries,
	})
	return err
}

func transportOf(authority string) (http.RoundTripper, error) {
	if authority == "" {
		return nil, nil // the client's own
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(authority)) {
		return nil, errors.New("caCert holds no certificate in PEM form")
	}
	transport, err := minio.DefaultTransport(true)
	if err != nil {
		return nil, err
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return transport, nil
}

// PutObject stores what the body holds, whatever its length.
func (s *Store) PutObject(bucket, key string, body io.Reader) error {
	bound, cancel := context.WithTimeout(context.Background(), callBound)
	defer cancel()
	_, err := s.client.Client.PutObject(bound, bucket, key, body, -1, minio.PutObjectOptions{PartSize: partBytes})
	return said(err, "put", bucket, key)
}

// ObjectExists tells an absent object from an absent bucket, which is an error.
func (s *Store) ObjectExists(bucket, key string) (bool, error) {
	bound, cancel := context.WithTimeout(context.Background(), callBound)
	defer cancel()
	_, err := s.client.StatObject(bound, bucket, key, minio.StatObjectOptions{})
	if err == nil {
		return true, nil
	}
	if minio.ToErrorResponse(err).StatusCode != http.StatusNotFound {
		return false, said(err, "look for", bucket, key)
	}
	// The answer has no body to say which of the two it is that was not found.
	there, err := s.client.BucketExists(bound, bucket)
	if err == nil && !there {
		err = errors.New("the bucket is absent")
	}
	return false, said(err, "look for", bucket, key)
}

// GetObject opens an object; an absent one is an error here, not at the first read.
func (s *Store) GetObject(bucket, key string) (io.ReadCloser, error) {
	body, _, _, err := s.client.GetObject(context.Background(), bucket, key, minio.GetObjectOptions{})
	return body, said(err, "get", bucket, key)
}

// ListCommonPrefixes returns the prefixes that end at the next delimiter.
func (s *Store) ListCommonPrefixes(bucket, prefix, delimiter string) ([]string, error) {
	_, prefixes, err := s.list(bucket, prefix, delimiter)
	return prefixes, err
}

// ListObjects returns all keys that begin with the prefix.
func (s *Store) ListObjects(bucket, prefix string) ([]string, error) {
	keys, _, err := s.list(bucket, prefix, "")
	return keys, err
}

func (s *Store) list(bucket, prefix, delimiter string) (keys, prefixes []string, err error) {
	for token := ""; ; {
		page, err := s.client.ListObjectsV2(bucket, prefix, "", token, delimiter, pageKeys)
		if err != nil {
			return nil, nil, said(err, "list", bucket, prefix)
		}
		for _, one := range page.Contents {
			keys = append(keys, one.Key)
		}
		for _, one := range page.CommonPrefixes {
			prefixes = append(prefixes, one.Prefix)
		}
		if !page.IsTruncated {
			return keys, prefixes, nil
		}
		if page.NextContinuationToken == "" || page.NextContinuationToken == token {
			return nil, nil, said(errors.New("the list is cut and names no next page"), "list", bucket, prefix)
		}
		token = page.NextContinuationToken
	}
}

// DeleteObject removes an object; an absent one needs nothing.
func (s *Store) DeleteObject(bucket, key string) error {
	bound, cancel := context.WithTimeout(context.Background(), callBound)
	defer cancel()
	return said(s.client.RemoveObject(bound, bucket, key, minio.RemoveObjectOptions{}), "delete", bucket, key)
}

// CreateSignedURL returns an address from which the object can be had without keys until ttl is over.
func (s *Store) CreateSignedURL(bucket, key string, ttl time.Duration) (string, error) {
	address, err := s.client.PresignedGetObject(context.Background(), bucket, key, ttl, nil)
	if err != nil {
		return "", said(err, "sign", bucket, key)
	}
	return address.String(), nil
}

func said(err error, what, bucket, key string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s/%s: %w", what, bucket, key, err)
}
