package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
)

const (
	bucket = "backups"
	absent = "no-such-bucket"
	prefix = "plugin-test/"
)

// The gateway is a real one, started by whoever runs these tests: $S3_URL, $S3_ACCESS, $S3_SECRET.
func opened(t *testing.T, secret string) *Store {
	t.Helper()
	config := configOf(t, secret)
	found := &Store{}
	if err := found.Init(config); err != nil {
		t.Fatal(err)
	}
	return found
}

func configOf(t *testing.T, secret string) map[string]string {
	t.Helper()
	address, access := os.Getenv("S3_URL"), os.Getenv("S3_ACCESS")
	if address == "" || access == "" {
		t.Fatal("$S3_URL, $S3_ACCESS and $S3_SECRET have to name a running gateway")
	}
	file := filepath.Join(t.TempDir(), "keys")
	text := fmt.Sprintf("[default]\naws_access_key_id=%s\naws_secret_access_key=%s\n", access, secret)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"s3Url": address, "region": "us-east-1", "s3ForcePathStyle": "true",
		"credentialsFile": file, "bucket": bucket, "prefix": "",
	}
}

func whole(t *testing.T) *Store {
	t.Helper()
	found := opened(t, os.Getenv("S3_SECRET"))
	there, err := found.client.BucketExists(context.Background(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	if !there {
		if err := found.client.MakeBucket(context.Background(), bucket, minio.MakeBucketOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func TestAnObjectComesBack(t *testing.T) {
	store := whole(t)
	for _, size := range []int{0, 1, 300_000, partBytes + 12_345} { // the last one in two parts
		data, key := make([]byte, size), fmt.Sprintf("%ssize-%d", prefix, size)
		_, _ = rand.Read(data)
		// Only a reader: how much is in it cannot be asked.
		if err := store.PutObject(bucket, key, io.MultiReader(bytes.NewReader(data))); err != nil {
			t.Fatal(err)
		}
		there, err := store.ObjectExists(bucket, key)
		if err != nil || !there {
			t.Fatalf("%s: exists %v, %v", key, there, err)
		}
		body, err := store.GetObject(bucket, key)
		if err != nil {
			t.Fatal(err)
		}
		seen, err := io.ReadAll(body)
		body.Close()
		if err != nil || !bytes.Equal(seen, data) {
			t.Fatalf("%s: %d bytes came back of %d, %v", key, len(seen), len(data), err)
		}
		if err := store.DeleteObject(bucket, key); err != nil {
			t.Fatal(err)
		}
		if there, err := store.ObjectExists(bucket, key); err != nil || there {
			t.Fatalf("%s: after it was deleted: exists %v, %v", key, there, err)
		}
	}
	if err := store.DeleteObject(bucket, prefix+"never-was"); err != nil {
		t.Fatalf("an absent object: %v", err)
	}
	if _, err := store.GetObject(bucket, prefix+"never-was"); err == nil {
		t.Fatal("an absent object was opened")
	}
}

func TestListsAreWholeOverPages(t *testing.T) {
	store := whole(t)
	defer func(keys int) { pageKeys = keys }(pageKeys)
	pageKeys = 5
	const count = 13
	for number := range count {
		key := fmt.Sprintf("%slist/d%d/%04d", prefix, number%3, number)
		if err := store.PutObject(bucket, key, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := store.ListObjects(bucket, prefix+"list/")
	if err != nil || len(keys) != count {
		t.Fatalf("%d keys of %d, %v", len(keys), count, err)
	}
	prefixes, err := store.ListCommonPrefixes(bucket, prefix+"list/", "/")
	wanted := []string{prefix + "list/d0/", prefix + "list/d1/", prefix + "list/d2/"}
	if err != nil || !slices.Equal(prefixes, wanted) {
		t.Fatalf("prefixes %v, %v", prefixes, err)
	}
	if keys, err := store.ListObjects(bucket, prefix+"nothing/"); err != nil || len(keys) != 0 {
		t.Fatalf("below an empty prefix: %v, %v", keys, err)
	}
	for _, key := range keys {
		if err := store.DeleteObject(bucket, key); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASignedAddressNeedsNoKeysUntilItEnds(t *testing.T) {
	store, key := whole(t), prefix+"signed"
	if err := store.PutObject(bucket, key, strings.NewReader("signed")); err != nil {
		t.Fatal(err)
	}
	defer store.DeleteObject(bucket, key)
	address, err := store.CreateSignedURL(bucket, key, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if status, text := fetched(t, address); status != http.StatusOK || text != "signed" {
		t.Fatalf("answered %d %q", status, text)
	}
	// Controls: without the signature, and after its end.
	if status, _ := fetched(t, strings.SplitN(address, "?", 2)[0]); status != http.StatusForbidden {
		t.Fatalf("without a signature: answered %d", status)
	}
	time.Sleep(2100 * time.Millisecond)
	if status, _ := fetched(t, address); status != http.StatusForbidden {
		t.Fatalf("after its end: answered %d", status)
	}
}

func fetched(t *testing.T, address string) (int, string) {
	t.Helper()
	answer, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func TestWrongKeysGetNothing(t *testing.T) {
	whole(t)
	refuses(t, opened(t, "not-the-secret"), bucket, "signature", "Access Denied")
}

func TestAnAbsentBucketIsAnError(t *testing.T) {
	refuses(t, whole(t), absent, "bucket")
}

func refuses(t *testing.T, store *Store, bucket string, words ...string) {
	t.Helper()
	key := prefix + "refused"
	_, listed := store.ListObjects(bucket, "")
	_, prefixes := store.ListCommonPrefixes(bucket, "", "/")
	_, found := store.ObjectExists(bucket, key)
	_, got := store.GetObject(bucket, key)
	errs := map[string]error{
		"put": store.PutObject(bucket, key, strings.NewReader("x")), "list": listed, "prefixes": prefixes,
		"exists": found, "get": got, "delete": store.DeleteObject(bucket, key),
	}
	for call, err := range errs {
		if err == nil {
			t.Errorf("%s: no error", call)
			continue
		}
		named := slices.ContainsFunc(words, func(word string) bool { return strings.Contains(err.Error(), word) })
		if !named {
			t.Errorf("%s: the error does not say why: %v", call, err)
		}
	}
}

func TestABadConfigIsNamed(t *testing.T) {
	for why, change := range map[string]func(map[string]string){
		"s3Url":            func(config map[string]string) { config["s3Url"] = "s3.example:9000" },
		"has a path":       func(config map[string]string) { config["s3Url"] += "/backups" },
		"region":           func(config map[string]string) { delete(config, "region") },
		"s3ForcePathStyle": func(config map[string]string) { config["s3ForcePathStyle"] = "maybe" },
		"unknown key":      func(config map[string]string) { config["s3URL"] = "x" },
		"no credentials":   func(config map[string]string) { delete(config, "credentialsFile") },
		"credentials in":   func(config map[string]string) { config["credentialsFile"] = "/no/such/file" },
		"caCert":           func(config map[string]string) { config["caCert"] = "not a certificate" },
	} {
		config := configOf(t, "x")
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "")
		change(config)
		if err := new(Store).Init(config); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", why, err)
		}
	}
}
